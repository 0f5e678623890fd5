#!/usr/bin/env bash
# Builds the fake driver, libcuda.so, into a folder: `kernels/shim/build.sh FOLDER`. Needs g++ alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
cxx=${CXX:-g++}
# The instructions of this machine, but no fused multiply-adds: kernels say where they want them.
"$cxx" -std=c++17 -O3 -march=native -ffp-contract=off -Wall -Wno-unknown-pragmas -Wno-unused-function -shared -fPIC -o "$out/libcuda.so.new" "$here/fake_libcuda.cc"
cp "$out/libcuda.so.new" "$out/libcuda.so.1.new"
mv "$out/libcuda.so.1.new" "$out/libcuda.so.1"
mv "$out/libcuda.so.new" "$out/libcuda.so"
