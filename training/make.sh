#!/bin/sh
# Makes nano from its data in one command: trunk and heads are trained, measured and exported; then its tracking is measured, which has
# no weights of its own (masks are carried by optical flow, by the features of this encoder, and by what they show of the object where
# its mask was given), so that a better trunk is a better tracker without another run.
#
#     DATA=../shared/data SAMOVAR=target/release/samovar sh training/make.sh [ARGUMENTS OF train.py]
#
# OUT (training/runs/nano) keeps every step; the same command goes on where it was stopped. It ends with OUT/nano.safetensors,
# OUT/pictures.txt and OUT/video.txt; to ship it: cp OUT/nano.safetensors crates/samovar-runtime/assets/.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
data=${DATA:?a folder with train.segpack, dev.segpack, video_dev.segpack and weights/}
samovar=${SAMOVAR:?the binary, as target/release/samovar}
out=${OUT:-$here/runs/nano}
python=${PYTHON:-python3}
mkdir -p "$out"
step() { echo "== $1"; }

step "1 of 4: trunk and heads ($out/last.pt)"
"$python" "$here/train.py" --data "$data" --out "$out" --resume "$@"
step "2 of 4: pictures ($out/pictures.txt)"
"$python" "$here/evaluate.py" "$out/last.pt" --data "$data/dev.segpack" | tee "$out/pictures.txt"
step "3 of 4: export ($out/nano.safetensors)"
"$python" "$here/export.py" "$out/last.pt" "$out/nano.safetensors"
step "4 of 4: video, from the first mask and from one click ($out/video.txt)"
"$python" "$here/track.py" "$out/nano.safetensors" --data "$data/video_dev.segpack" --samovar "$samovar" | tee "$out/video.txt"
