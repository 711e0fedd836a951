#!/usr/bin/env bash
# fetch_onnxruntime.sh FOLDER: puts ONNX Runtime's library and licences into FOLDER, taken from the
# wheel on PyPI for this machine's processor, whose hash is checked. Nothing is installed into any
# Python. Does nothing where the library is there already.
set -euo pipefail

version=1.32.0
folder=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
machine=$(uname -m)
fail() { # what, why, what to do; but where ORT_DYLIB_PATH names another library, that one is used
    case ${ORT_DYLIB_PATH:-} in
    "" | "$root/.deps/"*) ;; # that one is by env.sh
    *)
        if [ -f "$ORT_DYLIB_PATH" ]; then
            printf 'failed at: %s\n  why: %s\n  goes on with %s\n' "$1" "$2" "$ORT_DYLIB_PATH" >&2
            mkdir -p "$folder"
            exit 0
        fi
        ;;
    esac
    printf 'failed at: %s\n  why: %s\n  do:  %s\n' "$1" "$2" "$3" >&2
    exit 1
}
case $machine in
x86_64) hash=99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8 ;;
aarch64) hash=e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054 ;;
*) fail "fetching ONNX Runtime" "PyPI has no wheel of it for $machine" \
    "build it, and name its libonnxruntime.so in ORT_DYLIB_PATH" ;;
esac
library=libonnxruntime.so.$version
if [ -e "$folder/$library" ]; then exit 0; fi

mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Any pip will do: it only fetches. Debian parts it from Python, venv brings its own.
python=
for candidate in "$root/.deps/venv/bin/python" python3; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    python3 -m venv "$work/venv" >/dev/null 2>&1 ||
        fail "fetching ONNX Runtime" "python3 has neither pip nor venv" "sudo apt install python3-venv"
    python=$work/venv/bin/python
fi
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --implementation cp --python-version 312 --platform "manylinux_2_28_$machine" \
    --dest "$work" "onnxruntime==$version" ||
    fail "fetching onnxruntime==$version" "pip's words stand above" \
        "mend the network and run the same command again, or name a libonnxruntime.so in ORT_DYLIB_PATH"
wheel=$(echo "$work"/onnxruntime-*.whl)
found=$(sha256sum <"$wheel" | cut -d' ' -f1)
[ "$found" = "$hash" ] || fail "checking $(basename "$wheel")" "its SHA-256 is $found, expected $hash" \
    "try another network; if it stays so, tell the maintainers"
"$python" - "$wheel" "$work" "$library" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

wheel, folder, library = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in ("LICENSE", "ThirdPartyNotices.txt", "Privacy.md", "capi/libonnxruntime_providers_shared.so", f"capi/{library}"):
        (Path(folder) / Path(name).name).write_bytes(archive.read(f"onnxruntime/{name}"))
PYTHON
chmod 755 "$work"/*.so*
# The library last: where it is, the rest is too.
mv "$work/LICENSE" "$work/ThirdPartyNotices.txt" "$work/Privacy.md" "$work/libonnxruntime_providers_shared.so" "$folder/"
mv "$work/$library" "$folder/"
