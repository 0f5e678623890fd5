#!/usr/bin/env bash
# Makes samovar.fatbin of the kernels, for all architectures, and notes the hashes of what it was made of. Needs Python with pip, g++, no
# GPU and no CUDA: the compilers are pinned packages, some 100 MB, which are kept in target/cuda-compilers.
#
#     crates/samovar-cuda/kernels/build.sh           makes it
#     crates/samovar-cuda/kernels/build.sh check     makes it elsewhere, and fails where it would be another
#
# Either way it fails where a kernel has a stack frame or spills registers, or where one is missing. Where the packages cannot be had, it ends
# with 77.
set -euo pipefail
cd "$(dirname "$0")"

PACKAGES="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96"
SOURCES="gpu.h numbers.h product.h attention.h operators.h detectors.h samovar.cu build.sh"
# Cubins for these, which later cards of the same number before the point run as well; the others translate the PTX of the first.
ARCHITECTURES="80 90 100 120"

root=$(cd ../../.. && pwd)
home=${SAMOVAR_CUDA_COMPILERS:-$root/target/cuda-compilers/$(echo "$PACKAGES" | sha256sum | cut -c1-16)}
if [ ! -e "$home/ready" ]; then
    rm -rf "$home"
    mkdir -p "$home"
    # 77: it cannot be made here, which is no fault of the kernels.
    ${PYTHON:-python3} -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$home" $PACKAGES || exit 77
    for wheel in "$home"/*.whl; do
        ${PYTHON:-python3} -m zipfile -e "$wheel" "$home"
        rm "$wheel"
    done
    touch "$home/ready"
fi
cuda=$home/nvidia/cu13
chmod +x "$cuda"/bin/* "$cuda"/nvvm/bin/*
export PATH=$cuda/bin:$PATH

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
count=$(grep -c '^KERNEL(\|^PRODUCT(\|^ATTENTION(' samovar.cu)
compile() {
    local architecture=$1 log=$out/$1.log
    nvcc -std=c++17 -I. -arch="compute_$architecture" -ptx -o "$out/$architecture.ptx" samovar.cu
    ptxas -v -arch="sm_$architecture" -o "$out/$architecture.cubin" "$out/$architecture.ptx" 2>"$log" || { cat "$log"; return 1; }
    [ "$(grep -c 'Compiling entry function' "$log")" = "$count" ] || { echo "sm_$architecture: not $count kernels"; return 1; }
    if grep -A 1 'Function properties' "$log" | grep -v '^--' | paste - - | grep -v ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads'; then
        echo "sm_$architecture: a kernel has a stack frame or spills registers"
        return 1
    fi
    echo "sm_$architecture: $count kernels, no stack frames, no spills, at most $(grep -o 'Used [0-9]* registers' "$log" | grep -o '[0-9]*' | sort -n | tail -1) registers"
}
images=()
jobs=()
for architecture in $ARCHITECTURES; do
    compile "$architecture" &
    jobs+=($!)
    images+=("--image3=kind=elf,sm=$architecture,file=$out/$architecture.cubin")
done
for job in "${jobs[@]}"; do
    wait "$job"
done
images+=("--image3=kind=ptx,sm=80,file=$out/80.ptx")
fatbinary -64 --compress=true --compress-mode=size --create="$out/samovar.fatbin" "${images[@]}"
if [ "${1:-}" = check ]; then
    cmp "$out/samovar.fatbin" samovar.fatbin
    sha256sum --check --quiet samovar.sha256
    echo "samovar.fatbin is what its sources make"
else
    cp "$out/samovar.fatbin" samovar.fatbin
    sha256sum $SOURCES samovar.fatbin >samovar.sha256
    ls -l samovar.fatbin
fi
