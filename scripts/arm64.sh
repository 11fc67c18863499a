# shellcheck shell=sh
# For scripts that cross-build for arm64, to be sourced: the Rust that has the target, linker and runner.
target=aarch64-unknown-linux-gnu

has_target() { [ -d "$("$1" --print target-libdir --target $target 2>/dev/null)" ]; }
if ! has_target "${RUSTC:-rustc}"; then
    # Debian's, for which libstd-rust-web-dev:arm64 brings it. deps.sh asks for that.
    export PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
