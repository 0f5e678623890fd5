#!/usr/bin/env bash
# libFuzzer on stable Rust: run.sh TARGET [SECONDS]. Without a target it only builds.
set -euo pipefail
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../../target}/libfuzzer
# What `cargo fuzz run --sanitizer none` passes, with the flags that are stable.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
cargo build --quiet --release --target "$host"
[ $# -gt 0 ] || exit 0

target=$1
mkdir -p "../findings/corpus-$target"
SAMOVAR_FUZZ_TARGET=$target "$CARGO_TARGET_DIR/$host/release/samovar-libfuzzer" \
    -max_total_time="${2:-60}" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=0 \
    -artifact_prefix="../findings/$target-" "../findings/corpus-$target" "../corpus/$target"
