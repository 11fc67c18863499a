#!/bin/sh
# Unpacks packages of this machine's Debian release into DIR: nothing is installed, no service is
# started, and the machine's own apt lists stay as they are.
# usage: unpack.sh DIR PACKAGE...
set -eu

dir=$1
shift
if [ -e "$dir" ]; then exit 0; fi
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
if [ -e "$dir" ]; then exit 0; fi # another has fetched it meanwhile

work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status"

# The programs run with this machine's C library, so they have to be of its release.
release=$(. /etc/os-release; echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk -v suite="$release" '$1 == suite && $2 == "main" { print $3; exit }')
if [ -z "$mirror" ]; then echo "no Debian mirror among apt's sources" >&2; exit 1; fi
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $mirror $release main" >"$work/sources.list"

apt() {
  apt-get -qq \
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" \
    -o Dir::Cache="$work/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
cd "$work"
apt update
apt download "$@"
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
# Renamed into place when whole: a broken download is never taken for a good one.
mv unpacked "$dir"
