#!/usr/bin/env bash
# Sets everything up and runs distbench on this machine's GPUs, or on its CPUs where it has none.
#
#   launch/local.sh [-np N] [--gloo | --mpi] [--use-current-env] [distbench flags]
#
# N ranks (default 2), over Gloo unless --mpi is given. The run directory is made under results/ in
# the current folder; the last line names its report.
#
# Run for real: on CPUs, over Gloo and over MPI. Not run: on GPUs.
set -euo pipefail

ranks=2 controller=--gloo environment=() flags=()
while (($#)); do
  case $1 in
    -np) ranks=${2:?"-np needs a number of ranks"}; shift 2 ;;
    --gloo | --mpi) controller=$1; shift ;;
    --use-current-env) environment=("$1"); shift ;;
    *) flags+=("$1"); shift ;;
  esac
done
[[ $ranks =~ ^[1-9][0-9]*$ ]] || { echo "local: -np is '$ranks'; it must be a whole number of ranks" >&2; exit 2; }

# shellcheck source=launch/environment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
enter_environment ${environment[@]+"${environment[@]}"}

export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3} # horovodrun loads TensorFlow too
exec horovodrun "$controller" -np "$ranks" -H "localhost:$ranks" \
  python -m distbench ${flags[@]+"${flags[@]}"}
