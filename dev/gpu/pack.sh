#!/usr/bin/env bash
# Builds what run.sh needs on a machine with a card, target/gpu.tar.gz: programs without debug information, no cargo needed there.
#
#     dev/gpu/pack.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_INCREMENTAL=0
out=target/gpu
rm -rf "$out"
mkdir -p "$out/tests"
cargo build --release -p samovar-cuda --example card -p samovar-models --example encoders
cargo test --release --no-run -p samovar-models --tests --message-format=json 2>/dev/null |
    python3 -c '
import json, sys
for line in sys.stdin:
    told = json.loads(line)
    if told.get("executable") and "test" in told["target"]["kind"]:
        print(told["target"]["name"], told["executable"])
' >"$out/list"
for example in card encoders; do
    objcopy --strip-all "target/release/examples/$example" "$out/$example"
done
# Those whose goldens run on devices.
while read -r name file; do
    if grep -q 'devices()' "crates/samovar-models/tests/$name.rs" 2>/dev/null; then
        objcopy --strip-all "$file" "$out/tests/$name"
    fi
done <"$out/list"
rm "$out/list"
# One file of some 30 MB is all that travels.
tar -czf target/gpu.tar.gz -C target gpu
ls -l target/gpu.tar.gz
