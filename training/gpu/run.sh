#!/bin/sh
# Trains nano for SECONDS_TOTAL (default 450) seconds on this machine's GPU from the shard in training/shard, into OUT (default
# training/runs/gpu). Further arguments go to fit.py: OUT=results SECONDS_TOTAL=450 sh training/gpu/run.sh --levels 0.5
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONUNBUFFERED=1 CUDA_MODULE_LOADING=LAZY
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo "no GPU here"
exec "${PYTHON:-python3}" "$here/fit.py" --seconds "${SECONDS_TOTAL:-450}" --out "${OUT:-$here/../runs/gpu}" "$@"
