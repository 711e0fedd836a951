#!/usr/bin/env bash
# Runs a script of this folder in the environment of env.sh, with the simulator's packages:
#     scripts/sim/run.sh drive.py --seeds 1 --metres 5
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bash "$root/scripts/setup.sh" sim
# shellcheck disable=SC1091
set +u; . "$root/env.sh"; set -u
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$root/.deps/sim" PYTHONDONTWRITEBYTECODE=1
script=$1
shift
exec python "$here/$script" "$@"
