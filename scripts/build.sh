#!/usr/bin/env bash
# build.sh TARGET_DIR ONNXRUNTIME_DIR: the release binary into TARGET_DIR/release, ONNX Runtime into
# ONNXRUNTIME_DIR. CMakeLists.txt runs it for colcon, install.sh for `make install`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fail() { # what, why, what to do
    printf 'build failed at: %s\n  why: %s\n  do:  %s\n' "$1" "$2" "$3" >&2
    exit 1
}
PATH=$root/scripts/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
release=$(cargo --version | cut -d' ' -f2 | cut -d. -f2) || true
[ -n "$release" ] || fail "looking for cargo" "no Rust toolchain on PATH, or none that runs" "install Rust 1.92 or newer with rustup"
[ "$release" -ge 92 ] || fail "looking at cargo" "it is $(cargo --version), this package needs 1.92" "rustup update stable"

# Of all the messages that are installed, r2r is to generate those that are used.
eval "$(grep '^export IDL_PACKAGE_FILTER=' "$root/env.sh")"
bash "$root/scripts/fetch_onnxruntime.sh" "$2"
# r2r does not know Kilted by name; what it asks of a distribution is the same as in Jazzy.
[ "${ROS_DISTRO:-}" != kilted ] || export ROS_DISTRO=jazzy
# install.sh has built it already. Under colcon other paths are set, by which r2r's messages would be generated anew.
[ -n "${SQUEEZENET_IS_BUILT:-}" ] && exit 0
python3 "$root/scripts/progress.py" cargo build --release --locked --manifest-path "$root/Cargo.toml" --target-dir "$1"
