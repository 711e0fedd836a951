#!/usr/bin/env bash
# Runs a command in the environment of env.sh.
# shellcheck disable=SC1091
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh" || exit 1
exec "$@"
