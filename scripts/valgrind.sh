#!/bin/sh
# In the stand-in's place (STAND_IN): the stand-in under valgrind, which writes what it finds to target/valgrind.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root/target/valgrind"
exec valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
    --log-file="$root/target/valgrind/%p" "$root/target/debug/examples/stand-in" "$@"
