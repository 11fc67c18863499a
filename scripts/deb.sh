#!/bin/sh
# Makes the Debian package in target/packages and has lintian look at it: deb.sh [ARCH]
set -eu
cd "$(dirname "$0")/.."
arch=${1:-$(dpkg --print-architecture)}

if [ "$arch" = arm64 ] && [ "$(uname -m)" != aarch64 ]; then
    . scripts/arm64.sh
fi
rm -rf target/packages
mkdir -p target/packages
# Not dpkg-buildpackage: it wants Debian's own cargo, and writes beside the project.
# DEB_RULES_REQUIRES_ROOT=no, as dpkg-buildpackage sets it: what is in the package belongs to root, whoever builds.
export PACKAGES=target/packages DEB_RULES_REQUIRES_ROOT=no
dpkg-architecture -a"$arch" -c debian/rules clean binary
debian/rules clean >/dev/null

lintian --fail-on error,warning --allow-root target/packages/*.deb
echo
ls target/packages/*.deb
