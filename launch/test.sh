#!/usr/bin/env bash
# Sets everything up, then checks style and types and runs all tests, or with arguments those that
# pytest chooses by them.
#
#   launch/test.sh [pytest arguments]
#   launch/test.sh --faults [pytest arguments]   faults and signals in real jobs: about half an hour
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
if [[ ${1:-} == --faults ]]; then
  python -m pytest tests/test_fault_matrix.py tests/test_signals_end_to_end.py \
    -m "faults or real" "${@:2}"
elif (($#)); then
  python -m pytest "$@"
else
  # Two at a time, since most of them wait for something; what judges times has the cores alone.
  python -m pytest -n 2 --dist worksteal -m "not quiet and not faults" --durations 20
  python -m pytest -m quiet
fi
