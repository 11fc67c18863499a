#!/bin/sh
# `make test`, where an ignored test is a failure unless .github/may-be-ignored lists it for this Debian.
set -eu
cd "$(dirname "$0")/.."
release=$(. /etc/os-release && echo "${VERSION_ID:-none}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Plain sh does not tell how the first command of a pipe ended.
{ make test 2>&1 || echo $? >"$work/failed"; } | tee "$work/log"
[ ! -e "$work/failed" ] || exit "$(cat "$work/failed")"

# "test NAME ... ignored", with or without a reason behind it.
sed -n 's/^test \(.*[^ ]\)  *\.\.\. ignored.*/\1/p' "$work/log" | sort -u >"$work/ignored"
while IFS='|' read -r releases name _; do
    case ",$releases," in
        ",#"*) ;;
        *",$release,"* | ",*,") echo "$name" ;;
    esac
done <.github/may-be-ignored | sort -u >"$work/listed"

comm -23 "$work/ignored" "$work/listed" | sed 's/^/ignored, and .github\/may-be-ignored does not list it: /' >"$work/bad"
comm -13 "$work/ignored" "$work/listed" | sed 's/^/listed in .github\/may-be-ignored, and not ignored: /' >>"$work/bad"
grep '^SKIPPED' "$work/log" | sort -u >>"$work/bad" || true
if [ -s "$work/bad" ]; then
    echo
    cat "$work/bad" >&2
    exit 1
fi
