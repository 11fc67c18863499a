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

# "test NAME    ... ignored (REASON)": the name and the reason.
sed -n 's/^test \([^ ]*\) .*\.\.\. ignored\(.*\)/\1\2/p' "$work/log" | sort -u >"$work/ignored"
while IFS='|' read -r releases pattern _; do
    case ",$releases," in
        ",#"*) ;;
        *",$release,"* | ",*,") printf '%s\n' "$pattern" ;;
    esac
done <.github/may-be-ignored >"$work/listed"

# One side's lines that fit none of the other's.
while read -r test; do
    fits=false
    while read -r pattern; do
        # shellcheck disable=SC2254 # it is a pattern
        case $test in $pattern) fits=true && echo "$pattern" >>"$work/used" ;; esac
    done <"$work/listed"
    $fits || echo "ignored, and .github/may-be-ignored does not list it: $test" >>"$work/bad"
done <"$work/ignored"
touch "$work/used" "$work/bad"
while read -r pattern; do
    grep -qxF -e "$pattern" "$work/used" || echo "listed in .github/may-be-ignored, and not ignored: $pattern" >>"$work/bad"
done <"$work/listed"
grep '^SKIPPED' "$work/log" | sort -u >>"$work/bad" || true
if [ -s "$work/bad" ]; then
    echo
    cat "$work/bad" >&2
    exit 1
fi
