#!/usr/bin/env bash
# Sets everything up, then checks style and types and runs all tests, or with arguments those that
# pytest chooses by them.
#
#   launch/test.sh [pytest arguments]
set -euo pipefail

# shellcheck source=launch/environment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck disable=SC2119 # the arguments are pytest's
enter_environment
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

ruff check .
ruff format --check .
mypy
shellcheck -x launch/*.sh launch/*/*.sbatch launch/*/*.lsf launch/container/stand-in/nvidia-smi \
  tests/virtual_host_agent.sh .ci/run
if (($#)); then
  python -m pytest "$@"
else
  # Tests that only compute share the cores; ranks of real Horovod jobs need them for themselves.
  python -m pytest -n auto --dist worksteal -m "not real"
  python -m pytest -m real
fi
