#!/bin/sh
# Shows the module at work: in an installed FreeSWITCH if there is one, else in the stand-in.
set -eu
if [ -z "${FREESWITCH_PREFIX:-}" ]; then
    prefix=$(pkg-config --variable=prefix freeswitch 2>/dev/null || true)
    for prefix in "$prefix" /usr/local/freeswitch /usr; do
        [ -z "$prefix" ] || [ ! -x "$prefix/bin/freeswitch" ] || { export FREESWITCH_PREFIX="$prefix"; break; }
    done
fi
export MOD_FAIL2BAN_SO="$PWD/target/release/libmod_fail2ban.so"
exec target/debug/examples/stand-in demo
