#!/bin/sh
# Runs all of the training at small size on the processor: a shard of 64 pictures from DATA (a folder with train.segpack and
# dev.segpack), a minute of training from the shipped weights, another from its own f16 file, and with SAMOVAR (a binary) one
# picture through the runtime: DATA=../shared/data SAMOVAR=target/release/samovar sh training/gpu/check.sh [PICTURE]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$python" "$here/make_shard.py" --data "${DATA:?a folder with train.segpack and dev.segpack}" --shard 0/4 --limit 64 --out "$out/shard"
OUT=$out/one SECONDS_TOTAL=60 sh "$here/run.sh" --device cpu --limit 64 --shard "$out/shard"
OUT=$out/two SECONDS_TOTAL=60 sh "$here/run.sh" --device cpu --limit 64 --shard "$out/shard" --init "$out/one/nano.safetensors"
ls -l "$out/two"
if [ -n "${SAMOVAR:-}" ] && [ $# -gt 0 ]; then
    "$SAMOVAR" segment "$1" --point 100,100 --model "$out/two/nano.safetensors" --out "$out/cutout.png"
fi
