#!/bin/sh
# Unpacks packages of a Debian release into DIR: nothing is installed, no service is started, and the
# machine's own apt lists stay as they are. RELEASE is a name such as bookworm, or "own" for this
# machine's: compiled programs run with its C library, so they have to be of its release.
# usage: unpack.sh DIR RELEASE PACKAGE...
set -eu

dir=$1
release=$2
shift 2
if [ -e "$dir" ]; then exit 0; fi
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
if [ -e "$dir" ]; then exit 0; fi # another has fetched it meanwhile

work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status"

own=$(. /etc/os-release; echo "$VERSION_CODENAME")
if [ "$release" = own ]; then release=$own; fi
# The machine's own mirror, whatever it is.
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk -v suite="$own" '$1 == suite && $2 == "main" { print $3; exit }')
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
