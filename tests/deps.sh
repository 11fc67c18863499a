#!/bin/sh
# Installs what is missing: deps.sh build | test | live
# Debian's packages through apt, as root or with sudo; without either it says the one command to run.
set -eu

missing=""
need_file() { # PACKAGE PATTERN...: a file that matches has to be there
    package=$1; shift
    for file in "$@"; do [ -e "$file" ] && return; done
    missing="$missing $package"
}
need_command() { # PACKAGE COMMAND
    PATH="$PATH:/usr/sbin:/sbin" command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}

command -v cargo >/dev/null 2>&1 || { echo "cargo is not here: install Rust first (https://rustup.rs)" >&2; exit 1; }
need_command gcc gcc
[ -n "${LIBCLANG_PATH:-}" ] || need_file libclang-dev /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang.so* /usr/lib/*-linux-gnu/libclang-*.so*
case $1 in
    test | live)
        need_command binutils nm
        need_command iproute2 ip
        need_command nftables nft
        need_command iptables iptables
        need_file python3-pyinotify /usr/lib/python3/dist-packages/pyinotify.py
        need_file python3-minimal /usr/bin/python3
        ;;
esac
[ "$1" != live ] || need_command sip-tester sipp

[ -n "$missing" ] || exit 0
install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then sudo=""
elif command -v sudo >/dev/null 2>&1; then sudo="sudo"
else
    echo "Some Debian packages are missing. As root, run: $install" >&2
    exit 1
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive $install >/dev/null
