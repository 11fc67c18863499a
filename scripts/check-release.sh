#!/bin/sh
# Whether a tag may be released: check-release.sh TAG. The versions in Cargo.toml, both Cargo.lock, CHANGELOG.md and
# debian/changelog have to be the tag. Prints this release's part of CHANGELOG.md.
set -eu
cd "$(dirname "$0")/.."
tag=${1:?which tag? check-release.sh 2.0.0}

bad=0
compare() { # WHERE VERSION
    if [ "$2" != "$tag" ]; then
        echo "$1 has version '$2'; for the tag $tag it has to be $tag" >&2
        bad=1
    fi
}
compare Cargo.toml "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
compare Cargo.lock "$(sed -n '/^name = "mod_fail2ban"$/{n;s/^version = "\(.*\)"/\1/p;}' Cargo.lock)"
compare fuzz/Cargo.lock "$(sed -n '/^name = "mod_fail2ban"$/{n;s/^version = "\(.*\)"/\1/p;}' fuzz/Cargo.lock)"
compare CHANGELOG.md "$(sed -n 's/^## \([^ ]*\).*/\1/p' CHANGELOG.md | head -n 1)"
compare debian/changelog "$(sed -n '1s/^[^ ]* (\(.*\)).*/\1/p' debian/changelog)"
[ "$bad" = 0 ] || exit 1
awk '/^## / { n++ } n == 1 && !/^## /' CHANGELOG.md
