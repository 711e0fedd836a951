#!/usr/bin/env bash
# Runs a script of this folder in the environment of env.sh, with the packages of requirements.txt:
#     scripts/bench/run.sh node.py --quick
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck disable=SC1091
set +u; . "$root/env.sh"; set -u
bench=$root/.deps/bench
packages=$bench/packages
if [ ! -d "$packages" ] || ! cmp -s "$here/requirements.txt" "$bench/installed.txt"; then
    echo "==> installing what the benchmarks need in .deps/bench"
    rm -rf "$packages"
    mkdir -p "$bench"
    python -m pip install --quiet --no-deps --target "$packages" -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$bench/installed.txt"
fi
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$packages:$root/scripts" PYTHONDONTWRITEBYTECODE=1
script=$1
shift
exec python "$here/$script" "$@"
