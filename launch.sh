#!/usr/bin/env bash
# ./launch.sh                 lists the experiments
# ./launch.sh NAME --help     shows an experiment's flags
# ./launch.sh NAME [flags]    sets up .venv on first use, then runs python -m experiments.NAME
# ./launch.sh test [args]     sets up the test extras, then runs ruff, the type checker and pytest
#
# A sweep as a SLURM array, one cell an index (--plan counts them), and the report when all are finished; a cell that is
# preempted saves and is queued again. The first line installs, once, what all of them use:
#   export EXTRAS=cuda; ./launch.sh doctor
#   sbatch --array=0-17 --gpus=1 --requeue --wrap \
#     'srun ./launch.sh depth_sweep --cell=$SLURM_ARRAY_TASK_ID --workdir=/shared/runs'
#   ./launch.sh report --study=depth_sweep --workdir=/shared/runs
#
# PYTHON=python3.13  the interpreter to make .venv with       EXTRAS=cuda  extras to install: cuda, tpu, ray, bench or retrieval
# CXX=clang++        the compiler of the CPU kernels          CNN_JAX_NATIVE=0  XLA's own convolutions in their place
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or newer with venv and pip found; install one (Debian: python3-venv), or name it: PYTHON=/path/to/python $0" >&2
  return 1
}

# Installs once for each pyproject.toml and set of extras; a stamp makes every later call start at once.
set_up() {
  local extras=$1 stamp
  stamp=.venv/.installed-${extras:-base}-$(cksum <pyproject.toml | tr ' ' -)
  if [ -e "$stamp" ]; then return; fi
  if [ ! -x .venv/bin/python ]; then
    local python
    python=$(find_python)
    echo "setting up .venv with $("$python" --version), a minute or two, once" >&2
    "$python" -m venv .venv
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".${extras:+[$extras]}" >&2
  # pip compiles one file after another, for a minute; this is all cores. Some files are of other versions of Python.
  .venv/bin/python -W ignore -m compileall -qq -j 0 .venv/lib || true
  rm -f ".venv/.installed-${extras:-base}-"*
  touch "$stamp"
}

if [ $# -eq 0 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
  exec "$(find_python)" -m experiments
fi
name=$1
shift

if [ "$name" != test ] && { [ ! -f "experiments/$name.py" ] || [[ $name == _* ]]; }; then
  exec "$(find_python)" -m experiments "$name"
fi

# Compiled programs are kept, so that the same run starts faster next time, and a resumed one at once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cnn_jax/compiled}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# On CPU a step's temporaries are hundreds of megabytes; glibc gives them back to the kernel after each step and takes
# them anew, page by page, in the next, a quarter of the time of a step of resnet20. So a process keeps what it had.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736:glibc.malloc.arena_max=1}
# And on CPU a step is waited for: of two under way each has temporaries of its own, and the memory falls to pieces.
export JAX_CPU_ENABLE_ASYNC_DISPATCH=${JAX_CPU_ENABLE_ASYNC_DISPATCH:-false}
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
# Python warns of what killed processes left behind and of shared memory that is about to be given back; it cleans up both.
export PYTHONWARNINGS=${PYTHONWARNINGS:+$PYTHONWARNINGS,}ignore:resource_tracker

if [ "$name" = test ]; then
  set_up "test${EXTRAS:+,$EXTRAS}"
  .venv/bin/ruff format --check .
  .venv/bin/ruff check .
  .venv/bin/ty check --python .venv cnn_jax experiments
  exec .venv/bin/python -m pytest "$@"
fi

set_up "${EXTRAS:-}"
# JAX makes its CPU devices when it starts, so their number has to be known before any flag is read.
previous=
for argument in "$@"; do
  case $argument in --devices=* | -devices=*) export JAX_NUM_CPU_DEVICES=${argument#*=} ;; esac
  case $previous in --devices | -devices) export JAX_NUM_CPU_DEVICES=$argument ;; esac
  previous=$argument
done
exec .venv/bin/python -m "experiments.$name" "$@"
