# Sourced by the recipes: sets the environment up and enters it. Not to be run.
# shellcheck shell=bash
enter_environment() { # [--use-current-env]
  local root
  root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
  "$root/launch/setup.sh" "$@"
  if [[ ${1:-} == --use-current-env ]]; then
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
  else
    # shellcheck disable=SC1091
    . "$root/.venv/bin/activate"
  fi
}
