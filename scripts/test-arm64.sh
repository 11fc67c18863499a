#!/bin/sh
# Cross-builds the module for arm64 and runs the suite under qemu-user; the stand-in, which the tests start, runs in
# a wrapper. Further arguments go to `cargo test`: test-arm64.sh --test suite configuration::
set -eu
cd "$(dirname "$0")/.."
if [ "$(uname -m)" = aarch64 ]; then
    echo "this machine is an arm64: \`make test\` is the suite here" >&2
    exit 2
fi
. scripts/arm64.sh
root=$(pwd)
export CARGO_TARGET_DIR="$root/target/arm64"

scripts/cargo build --release --lib --locked --target $target
scripts/cargo build --example stand-in --locked --target $target

# What bindgen makes of freeswitch-headers/ is the same on both: sizes, offsets and numbers are then held against
# the measured facts by tests/suite/abi.rs, which runs below.
scripts/cargo build --lib --locked
newest() { find "$1" -path '*/mod_fail2ban-*/out/bindings.rs' -printf '%T@ %p\n' | sort -rn | head -n 1 | cut -d ' ' -f 2-; }
here=$(newest "$CARGO_TARGET_DIR/debug/build")
there=$(newest "$CARGO_TARGET_DIR/$target/debug/build")
diff -u "$here" "$there" || { echo "the bindings for arm64 are not those for this machine" >&2; exit 1; }
echo "the bindings for arm64 are the same as those for $(uname -m)"

file="$CARGO_TARGET_DIR/stand-in"
cat >"$file" <<END
#!/bin/sh
exec qemu-aarch64-static "$CARGO_TARGET_DIR/$target/debug/examples/stand-in" "\$@"
END
chmod +x "$file"
export STAND_IN="$file"
# Some tests compile a small module for the stand-in with gcc: here that is the one for arm64.
mkdir -p "$CARGO_TARGET_DIR/bin"
ln -sf "$(command -v aarch64-linux-gnu-gcc)" "$CARGO_TARGET_DIR/bin/gcc"
export PATH="$CARGO_TARGET_DIR/bin:$PATH"
export MOD_FAIL2BAN_SO="$CARGO_TARGET_DIR/$target/release/libmod_fail2ban.so"
scripts/cargo test --locked --no-fail-fast --target $target "$@"
