#!/usr/bin/env bash
# What is to be done on a machine with an NVIDIA card, after dev/gpu/pack.sh elsewhere: parts of under eight minutes, each with a file of
# results that is to be committed to dev/gpu/results/CARD.
#
#     dev/gpu/run.sh PART FOLDER        PART: machine, suite, models, figures, encoders, memory, torch, or all
set -uo pipefail
cd "$(dirname "$0")/../.."
part=$1
out=$2
mkdir -p "$out"
export RUST_BACKTRACE=0
if [ ! -d target/gpu ] || [ target/gpu.tar.gz -nt target/gpu ]; then
    tar -xzf target/gpu.tar.gz -C target && touch target/gpu
fi

# A part's text goes to its file, and how it ended.
record() {
    local name=$1
    shift
    local start=$SECONDS
    timeout 470 "$@" >"$out/$name.md" 2>&1
    local code=$?
    printf '\n%s: exit code %s after %s s\n' "$name" "$code" "$((SECONDS - start))" >>"$out/$name.md"
    tail -n 1 "$out/$name.md"
    return "$code"
}

models() {
    local failed=0 test text
    export SAMOVAR_TEST_CUDA=1 SAMOVAR_TEST_REPOSITORY=$PWD
    for test in target/gpu/tests/*; do
        echo "== $(basename "$test")"
        text=$("$test" 2>&1) || failed=1
        echo "$text" | grep -E '^test |panicked|allowed'
    done
    return "$failed"
}
export -f models

case $part in
machine) record machine bash -c 'nvidia-smi; nvidia-smi -q | grep -E "Product Name|Driver Version|CUDA Version|Clocks|Graphics|SM |Memory  |Power Limit"; nproc; free -g | head -2' ;;
suite) record suite target/gpu/card suite ;;
models) record models bash -c models ;;
figures) record figures target/gpu/card figures ;;
encoders)
    record encoders_bf16 target/gpu/encoders bf16
    record encoders_f32 target/gpu/encoders f32 0 vit_b sam2.1_t
    ;;
memory) record memory target/gpu/card memory ;;
torch) record torch "${PYTHON:-python3}" dev/gpu/peer.py ;;
all)
    failed=0
    for one in machine suite models figures encoders memory torch; do
        "$0" "$one" "$out" || failed=1
    done
    exit "$failed"
    ;;
*)
    echo "$part is no part"
    exit 2
    ;;
esac
