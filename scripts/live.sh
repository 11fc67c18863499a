#!/bin/sh
# Runs the suite against an installed FreeSWITCH: live.sh PREFIX
# Its headers are compared with what the module takes for them, then every test that can runs in it. As root
# the tests of tests/suite/live run too, in network namespaces of their own. With C_MODULE_SO=FILE, they compare
# the module with FreeSWITCH's own mod_fail2ban.
set -eu

prefix=${1:-}
if [ -z "$prefix" ]; then
    echo "where is FreeSWITCH? make live FREESWITCH_PREFIX=/usr/local/freeswitch" >&2
    exit 2
fi
if [ ! -x "$prefix/bin/freeswitch" ]; then
    echo "$prefix/bin/freeswitch is not there: FREESWITCH_PREFIX has to name the place of an installed FreeSWITCH" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
target=${CARGO_TARGET_DIR:-$here/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$prefix/bin/freeswitch" -version

# The sizes, offsets and constants in freeswitch-headers/ are those of tests/data (tests/suite/abi.rs); here they are
# held against the headers that are installed.
headers="not checked: $prefix/include/freeswitch/switch.h is not there"
if [ ! -e "$prefix/include/freeswitch/switch.h" ]; then
    if [ -n "${REQUIRE_ALL:-}" ]; then
        echo "the headers can't be checked: $prefix/include/freeswitch/switch.h is not there" >&2
        exit 1
    fi
else
    /usr/bin/python3 - tests/data/freeswitch-abi-x86_64.json >"$work/abi_check.c" <<'EOF'
import json
import sys

facts = json.load(open(sys.argv[1], encoding="utf-8"))
print("#include <stddef.h>\n#include <switch.h>")
for name, struct in facts["structs"].items():
    # A struct without a typedef is known by its tag.
    kind = name if name.endswith("_t") else f"struct {name}"
    print(f'_Static_assert(sizeof({kind}) == {struct["size"]}, "size of {name}");')
    for field, place in struct["fields"].items():
        print(f'_Static_assert(offsetof({kind}, {field}) == {place["offset"]}, "offset of {name}.{field}");')
        print(f'_Static_assert(sizeof((({kind} *)0)->{field}) == {place["size"]}, "size of {name}.{field}");')
for name, value in facts["constants"].items():
    print(f'_Static_assert((long)({name}) == {value}, "{name}");')
EOF
    flags=$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig:${PKG_CONFIG_PATH:-}" pkg-config --cflags freeswitch 2>/dev/null || true)
    # shellcheck disable=SC2086
    gcc -fsyntax-only -w -I"$prefix/include/freeswitch" $flags "$work/abi_check.c"
    headers="$(grep -c Static_assert "$work/abi_check.c") facts hold"
fi

export FREESWITCH_PREFIX="$prefix"
export MOD_FAIL2BAN_SO="${MOD_FAIL2BAN_SO:-$target/release/libmod_fail2ban.so}"
status=0
# What can't run here is ignored, with its reason; REQUIRE_ALL=1 turns that into a failure.
scripts/cargo test --locked --no-fail-fast >"$work/log" 2>&1 || status=$?
grep -E '^test |Running|panicked' "$work/log" || true
[ "$status" = 0 ] || sed -n '/^failures:$/,$p' "$work/log"

echo
echo "FreeSWITCH in $prefix, the module in $MOD_FAIL2BAN_SO"
echo "headers: $headers"
echo "tests: $(grep -c '^test .* ok$' "$work/log") passed, $(grep -c '^test .* FAILED$' "$work/log") failed," \
    "$(grep -c '^test .* ignored' "$work/log") ignored:"
sed -n 's/^test .* ignored (\(.*\))$/\1/p' "$work/log" | sort | uniq -c
exit "$status"
