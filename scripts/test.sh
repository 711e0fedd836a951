#!/usr/bin/env bash
# Everything that has to hold before a change is merged; `make test` and CI run this.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck disable=SC1091
set +u; . ./env.sh; set -u
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

data=${SQUEEZENET_DATA:-../shared/data}
if [ ! -d "$data" ]; then
    say "no folder $data: tests that look at real pictures pass or skip without them; set SQUEEZENET_DATA"
fi
say "format"
cargo fmt --check
say "clippy"
cargo clippy --all-targets --locked -- -D warnings
say "core, without ROS: unit, property and doc tests"
# The ROS packages are out of sight here: the core has to build and pass without them.
env -u AMENT_PREFIX_PATH -u CMAKE_PREFIX_PATH -u ROS_DISTRO cargo test --no-default-features --locked --quiet
say "node: unit tests"
cargo test --lib --locked --quiet ros::
say "installed layout, by colcon"
bash scripts/install.sh
say "on the ROS graph"
# A ROS that is sourced brings plugins of its own, some of them for older versions of pytest.
PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest tests/python -q -rs --durations=5
say "all of it passed, in $((SECONDS / 60)) min $((SECONDS % 60)) s; what was skipped and why stands above"
