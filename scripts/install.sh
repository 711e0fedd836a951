#!/usr/bin/env bash
# Builds the release binary and installs the package as colcon lays it out, in .deps/install.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC1091
set +u && . "$root/env.sh" && set -u
cd "$root"
# colcon gives cargo a target folder of its own below the build base; this one is shared with
# plain cargo, so that nothing is compiled twice.
mkdir -p .deps/build/colcon target
# colcon would have cargo patch the package by what an earlier build of it has installed.
rm -rf .deps/install .cargo
[ -L .deps/build/colcon/squeezenet_node ] || { rm -rf .deps/build/colcon/squeezenet_node; ln -s "$root/target" .deps/build/colcon/squeezenet_node; }
colcon --log-base .deps/log/colcon build \
    --base-paths . --packages-select squeezenet_node \
    --build-base .deps/build/colcon --install-base .deps/install --merge-install \
    --cargo-args --release --locked
binary=.deps/install/lib/squeezenet_node/squeezenet_node
if [ ! -x "$binary" ] || [ ! -e .deps/install/share/ament_index/resource_index/packages/squeezenet_node ]; then
    echo "install failed: colcon did not lay out $binary and its ament index entry; is package.xml valid?" >&2
    exit 1
fi
