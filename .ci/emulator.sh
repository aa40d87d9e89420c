#!/bin/sh
# Lets this machine emulate an aarch64 device for the tests; needs Debian or Ubuntu, and root.
set -eu
registered=/proc/sys/fs/binfmt_misc/qemu-aarch64

if [ "$(id -u)" != 0 ] || [ "$(uname -m)" != x86_64 ] || ! command -v apt-get >/dev/null; then
    echo "No aarch64 device can be emulated here: that takes root and apt-get on x86-64."
    exit
fi
if ! command -v qemu-aarch64-static >/dev/null || ! command -v update-binfmts >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends qemu-user-static binfmt-support >/dev/null
fi
if [ ! -e "$registered" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc 2>/dev/null || true
    update-binfmts --enable qemu-aarch64 || true
fi
[ -e "$registered" ] || echo "The kernel takes no binfmt_misc here, so no aarch64 device is emulated."
