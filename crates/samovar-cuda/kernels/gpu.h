// What a kernel may use. Under nvcc: CUDA and PTX of sm_80 and later. Under g++: shim/cpu_shim.h, which runs it on a CPU.
#pragma once
#ifdef __CUDACC__
#include <stdint.h>
#define DEVICE __device__ __forceinline__
// A kernel: its most threads, its name, its one argument, which is a plain struct called `a` inside.
// Registers are not to be saved for a second block on a processor: what spills costs more.
#define KERNEL(threads, name, Args) extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Args a)
// All shared memory is dynamic: the host says how much.
extern __shared__ __align__(16) unsigned char samovar_shared[];
DEVICE unsigned char* shared_memory() { return samovar_shared; }

DEVICE unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
// Four 8x8 matrices of 16-bit numbers: lanes 8 i .. 8 i + 7 name the rows of matrix i.
DEVICE void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
DEVICE void ldmatrix_x4_transposed(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
// d[16x8] += a[16x16] b[16x8], fragments as the PTX ISA has them for m16n8k16 (and m16n8k32 for 8-bit numbers).
DEVICE void mma_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void mma_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void mma_u8_s8(int (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// 16 bytes of which the last 16 - `bytes` become 0.
DEVICE void cp_async_16(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}
DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }

DEVICE unsigned short bits_of_bf16(float v) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
DEVICE float float_of_bf16(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }
// Beyond half precision: its largest number.
DEVICE unsigned short bits_of_f16(float v) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(fminf(fmaxf(v, -65504.f), 65504.f)));
  return bits;
}
DEVICE float float_of_f16(unsigned short bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
  return v;
}
DEVICE float multiply_rounded(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add_rounded(float a, float b) { return __fadd_rn(a, b); }
DEVICE int nearest_int(float v) { return __float2int_rn(v); }
DEVICE float exp2_fast(float v) { return exp2f(v); }
// For angles of half a turn at most.
DEVICE float sine(float v) { return __sinf(v); }
DEVICE float cosine(float v) { return __cosf(v); }
DEVICE bool is_finite(float v) { return isfinite(v); }
DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE float not_a_number() { return __int_as_float(0x7fffffff); }
DEVICE float infinity() { return __int_as_float(0x7f800000); }
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#else
#include "shim/cpu_shim.h"
#define UNROLL
#define NO_UNROLL
#endif
