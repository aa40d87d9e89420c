#!/bin/sh
# Makes a stand-in for the base images from Debian's packages, since no registry of images is asked:
# Debian trixie with Python 3.13 and pip in /usr/local, as in python:3.13-slim-trixie.
# Usage: python_base.sh FOLDER IMAGE... commits it under each of the names; FOLDER is scratch space.
# It needs root, debootstrap and buildah.
set -eu
root=$1/root
shift
debootstrap --variant=minbase --include=ca-certificates,python3-venv trixie "$root" \
    http://deb.debian.org/debian >"$root.log"

in_root() {
    env -u TMPDIR chroot "$root" "$@"
}
# The headers alone, as Python's own image has them; the package would bring those of libc along.
in_root sh -euc 'mkdir /tmp/dev && cd /tmp/dev && apt-get -qq download libpython3.13-dev &&
    dpkg -x ./*.deb . && cp -r usr/include/python3.13 usr/include/*-linux-gnu /usr/include/ &&
    rm -r /tmp/dev'
in_root python3 -m venv /usr/local
# The authorities that this machine trusts beyond Debian's, such as a proxy's.
cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
in_root update-ca-certificates >/dev/null
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / >/dev/null
rm -rf "$root"
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    --cmd python3 "$container"
for image in "$@"; do
    buildah commit --quiet --format docker "$container" "$image" >/dev/null
done
buildah rm "$container" >/dev/null
