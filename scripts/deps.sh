#!/bin/sh
# Installs what a command of the Makefile needs and this machine lacks: deps.sh build | check | test | test-arm64 | live | deb | deb-arm64
#
# Debian's packages through apt, as root or with sudo; without either it prints the one command to run. Where
# nothing is missing it calls neither apt nor the network.
set -eu
cd "$(dirname "$0")/.."

what=${1:-}
case $what in
    build | check | test | test-arm64 | live | deb | deb-arm64) ;;
    *)
        echo "deps.sh: '$what' is not known; one of build, check, test, test-arm64, live, deb, deb-arm64 is" >&2
        exit 2
        ;;
esac

missing=""
need_file() { # PACKAGE PATTERN...: a file that matches one of the patterns has to be there
    package=$1
    shift
    for file in "$@"; do
        if [ -e "$file" ]; then return; fi
    done
    missing="$missing $package"
}
is_installed() { # PACKAGE
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
need_command() { # PACKAGE COMMAND
    PATH="$PATH:/usr/sbin:/sbin" command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}

# The oldest Rust that builds the module, and whether scripts/cargo finds one that is new enough.
oldest_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
arm64=false
case $what in *-arm64) arm64=true ;; esac
if $arm64 && [ ! -d "$(rustc --print target-libdir --target aarch64-unknown-linux-gnu 2>/dev/null)" ]; then
    # Debian's Rust, whose libraries for arm64 have to be of the very same version.
    is_installed cargo-web || missing="$missing cargo-web rustc-web"
    need_file libstd-rust-web-dev:arm64 /usr/lib/rustlib/aarch64-unknown-linux-gnu/lib
elif ! scripts/cargo --version >/dev/null 2>&1; then
    missing="$missing cargo-web rustc-web"
fi
if [ "$what" = check ]; then
    scripts/cargo fmt --version >/dev/null 2>&1 || missing="$missing rustfmt-web"
    scripts/cargo clippy --version >/dev/null 2>&1 || missing="$missing rust-web-clippy"
    # Another Rust than Debian's brings its own.
    case $missing in
        *cargo-web*) ;;
        *rustfmt-web* | *rust-web-clippy*)
            if ! is_installed cargo-web; then
                echo "this Rust came without rustfmt or clippy: rustup component add rustfmt clippy" >&2
                exit 1
            fi
            ;;
    esac
fi
need_file ca-certificates /etc/ssl/certs/ca-certificates.crt # cargo fetches over https
need_command gcc gcc
need_file libc6-dev /usr/include/*/stdlib.h /usr/include/stdlib.h
[ -n "${LIBCLANG_PATH:-}" ] ||
    need_file libclang-dev /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang.so* /usr/lib/*-linux-gnu/libclang-[0-9]*.so*

case $what in
    test | test-arm64 | live)
        need_command binutils nm
        need_command iproute2 ip
        need_command nftables nft
        need_command iptables iptables
        need_command procps ps
        need_file python3-pyinotify /usr/lib/python3/dist-packages/pyinotify.py
        need_file python3 /usr/bin/python3
        ;;
esac
if [ "$what" = live ]; then
    need_command sip-tester sipp
    need_command openssl openssl
    need_command kamailio kamailio
fi
case $what in
    test | test-arm64 | live | deb | deb-arm64)
        need_command debhelper dh
        need_command dpkg-dev dpkg-buildpackage
        need_command lintian lintian
        ;;
esac
case $what in test | test-arm64 | live) need_command logrotate logrotate ;; esac
if $arm64; then
    need_command gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
    need_file libc6-dev:arm64 /usr/lib/aarch64-linux-gnu/libc.so
    need_file libgcc-s1:arm64 /lib/aarch64-linux-gnu/libgcc_s.so.1
fi
[ "$what" != test-arm64 ] || need_command qemu-user-static qemu-aarch64-static

[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "This is not a Debian, so nothing can be installed here by itself. What is missing, by Debian's names:$missing" >&2
    case $missing in *cargo-web*) echo "Rust has to be $oldest_rust or newer: https://rustup.rs" >&2 ;; esac
    exit 1
fi
install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1; then
    sudo="sudo"
else
    echo "Some Debian packages are missing. As root, run: apt-get update && $install" >&2
    exit 1
fi
echo "installing$missing" >&2
case $missing in
    *:arm64*) dpkg --print-foreign-architectures | grep -qx arm64 || $sudo dpkg --add-architecture arm64 ;;
esac
$sudo apt-get update -qq
case $missing in
    *cargo-web*)
        # Debian 12 and 13 have it. It takes the place of Debian's own cargo, rustc and rustup, which are too old.
        version=$(apt-cache policy cargo-web | sed -n 's/^ *Candidate: \([0-9]*\.[0-9]*\).*/\1/p')
        if [ -z "$version" ] || dpkg --compare-versions "$version" lt "$oldest_rust"; then
            echo "Rust $oldest_rust or newer is needed, and apt offers cargo-web ${version:-in no version}:" \
                "add Debian 12's or 13's security updates to apt's sources, or install Rust from https://rustup.rs" >&2
            exit 1
        fi
        for package in cargo rustc rustup; do
            if is_installed "$package"; then
                echo "Debian's $package is too old (Rust $oldest_rust is needed): cargo-web and rustc-web replace it" >&2
            fi
        done
        ;;
esac
case $missing in
    *kamailio*)
        # The tests start their own. A link to /dev/null keeps systemd from starting one at the installation and later.
        unit=/etc/systemd/system/kamailio.service
        if [ ! -e "$unit" ] && [ -d "${unit%/*}" ]; then
            $sudo ln -s /dev/null "$unit"
            echo "kamailio.service is masked: systemctl unmask kamailio" >&2
        fi
        ;;
esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # the names are words of their own
if ! $sudo env DEBIAN_FRONTEND=noninteractive $install >"$log" 2>&1; then
    cat "$log" >&2
    echo "apt could not install:$missing" >&2
    exit 1
fi
