#!/usr/bin/env bash
# Every benchmark with the given options, then docs/benchmarks.md; `make bench` runs this.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for script in node.py against_python.py engines.py reload.py replay.py; do
    started=$SECONDS
    printf '\033[1m==> %s\033[0m\n' "$script $*"
    bash "$here/run.sh" "$script" "$@"
    echo "    done in $((SECONDS - started)) s"
done
(cd "$here/../.." && bash scripts/run.sh cargo bench --bench stages --no-default-features --locked -- --warm-up-time 1 --measurement-time 3)
bash "$here/run.sh" report.py "$@"
echo "==> all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
