#!/bin/sh
# Runs a command as if this x86-64 processor had neither AVX-512 nor VNNI. It needs root, a C compiler
# and an Intel processor whose CPUID can be made to fault (`cpuid_fault` in /proc/cpuinfo).
#
#   sh benchmarks/without_vnni/run.sh tmkd-deploy validate recipes/quickstart.yaml --target cpu
set -eu
here=$(cd "$(dirname "$0")" && pwd)
grep -qw cpuid_fault /proc/cpuinfo || {
    echo "This processor's CPUID does not fault, so nothing can be hidden." >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -shared -fPIC -o "$work/hide.so" "$here/hide.c"
# what programs read of the processor instead of asking it
sed -E '/^flags/ s/ (avx512[a-z0-9_]*|avx_vnni|amx_[a-z0-9]*)//g' /proc/cpuinfo >"$work/cpuinfo"
unshare --mount sh -c '
    mount --bind "$1/cpuinfo" /proc/cpuinfo
    library=$1/hide.so
    shift
    LD_PRELOAD=$library exec "$@"
' sh "$work" "$@"
