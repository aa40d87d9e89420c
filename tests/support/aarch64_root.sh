#!/bin/sh
# Makes the root of an aarch64 device that this machine can emulate: Debian's Python for arm64, NumPy
# and ONNX Runtime, and no more. Usage: aarch64_root.sh FOLDER PYTHON, where PYTHON has pip.
# It needs root, apt of Debian or Ubuntu, and qemu-user-static with binfmt-support; it changes nothing
# of this machine's own packages.
set -eu
root=$1
python=$2
work=$(mktemp -d)
trap 'rm -rf "$work" "$root.part"' EXIT
chmod 755 "$work"
rm -rf "$root.part"
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/wheels" "$root.part/proc" "$root.part/tmp"
: >"$work/status"

# apt with lists and a status of its own, in which nothing is installed
arm64_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root \
        -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status" \
        -o Dir::Cache::archives="$work/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        "$@"
}
arm64_apt update
arm64_apt install --download-only --no-install-recommends -y \
    dash python3-minimal libpython3-stdlib libstdc++6 >/dev/null
for package in "$work"/archives/*.deb; do
    dpkg -x "$package" "$root.part"
done

release=$(basename "$(ls -d "$root.part"/usr/lib/python3.*)" | cut -c7-)
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version "$release" --platform manylinux_2_28_aarch64 \
    --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
    --dest "$work/wheels" numpy onnxruntime flatbuffers packaging protobuf
for wheel in "$work"/wheels/*.whl; do
    "$python" -m zipfile -e "$wheel" "$root.part/usr/lib/python3/dist-packages"
done

# without /proc of its own the device says what it is in plain files
printf 'Model\t: aarch64, emulated by qemu\nFeatures\t: fp asimd\n' >"$root.part/proc/cpuinfo"
cp /proc/meminfo /proc/loadavg "$root.part/proc/"
mkdir -p "$root.part/dev"
mknod -m 666 "$root.part/dev/null" c 1 3
cp "$(command -v qemu-aarch64-static)" "$root.part/usr/bin/"
mv "$root.part" "$root"
