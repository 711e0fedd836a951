#!/usr/bin/env bash
# Builds the release binary and installs the package as colcon lays it out, in .deps/install.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC1091
set +u; . "$root/env.sh"; set -u
cd "$root"
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
started=$SECONDS
say "build (the first one compiles some 350 crates: about 9 min on two cores)"
# The target folder of plain cargo, so that nothing is compiled twice.
bash scripts/build.sh "$root/target" "$root/.deps/onnxruntime"
printf '    done in %s s\n' $((SECONDS - started))
say "install"
rm -rf .deps/install
SQUEEZENET_IS_BUILT=1 colcon --log-base .deps/log/colcon build \
    --base-paths . --packages-select squeezenet_node \
    --build-base .deps/build/colcon --install-base .deps/install --merge-install \
    --event-handlers console_cohesion- console_start_end- summary- \
    --cmake-args "-DSQUEEZENET_TARGET_DIR=$root/target" "-DSQUEEZENET_ONNXRUNTIME_DIR=$root/.deps/onnxruntime"
binary=.deps/install/lib/squeezenet_node/squeezenet_node
if [ ! -x "$binary" ] || [ ! -e .deps/install/share/ament_index/resource_index/packages/squeezenet_node ]; then
    echo "install failed: colcon did not lay out $binary and its ament index entry; its log is .deps/log/colcon/latest" >&2
    exit 1
fi
printf '    %s\n' "in .deps/install; a shell that finds it, and what it needs: . ./env.sh"
