// Runs CUDA kernels on a CPU, for tests: the threads of a block are fibers that switch at barriers and at warp operations.
//
// Blocks run one after the other. SHIM_ORDER chooses in which order threads run (0 forwards, 1 backwards, 2 warps at random), and
// SHIM_EARLY whether asynchronous copies land at once or as late as they may: a kernel that misses a barrier or a wait
// gives another result in at least one of them: SHIM_SKIP makes every thread pass its barrier of that number by, for the test that tells.
// Shared memory starts as NaN, and what lies behind it is watched.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <algorithm>
#include <map>
#include <string>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define DEVICE inline
struct dim3 { unsigned x, y, z; dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {} };
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
DEVICE float2 make_float2(float x, float y) { return {x, y}; }
DEVICE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
using std::max;
using std::min;

namespace shim {

const int LANES = 32, MOST_THREADS = 1024, STACK_BYTES = 1 << 16, MOST_SHARED = 232448, GUARD = 4096;

// ---- fibers ---------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
struct Context { void* stack_pointer; };
extern "C" void shim_switch(Context* from, Context* to);
asm(R"(
.text
.type shim_switch, @function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size shim_switch, .-shim_switch
)");
static void prepare(Context& c, char* stack, void (*entry)()) {
  void** top = (void**)(stack + STACK_BYTES);
  *--top = nullptr;  // Where `entry` would return to; it also puts the stack where a call would leave it.
  *--top = (void*)entry;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  c.stack_pointer = top;
}
#else
struct Context { ucontext_t context; };
static void shim_switch(Context* from, Context* to) { swapcontext(&from->context, &to->context); }
static void prepare(Context& c, char* stack, void (*entry)()) {
  getcontext(&c.context);
  c.context.uc_stack.ss_sp = stack;
  c.context.uc_stack.ss_size = STACK_BYTES;
  c.context.uc_link = nullptr;
  makecontext(&c.context, entry, 0);
}
#endif

struct Copy { void* to; const void* from; int bytes; };
struct Thread {
  Context context;
  dim3 at;
  bool done;
  int barriers;
  // It waits as long as this round goes on.
  const uint64_t* round;
  uint64_t waits_for;
  std::vector<std::vector<Copy>> groups;
  std::vector<Copy> open;
};
// What a lane hands in, and what it gets where the last one computes for all.
struct Slot { const void* address; unsigned in[12]; unsigned out[4]; };
struct Warp { Slot slots[2][LANES]; int kind[2]; int arrived; uint64_t round; int lanes; };

static Thread threads[MOST_THREADS];
static Warp warps[MOST_THREADS / LANES];
static Thread* self;
static int self_index, thread_count, running, arrived;
static uint64_t block_round;
static Context scheduler;
static dim3 block_at, block_dim, grid_dim;
static void (*body)(const void*);
static const void* body_args;
static const char* kernel_name = "";
static unsigned char* shared;
static int order, skip;
static bool early;

[[noreturn]] static void fail(const char* what) {
  fprintf(stderr, "shim: %s (%s, block %u,%u,%u, thread %d)\n", what, kernel_name, block_at.x, block_at.y, block_at.z, self ? self_index : -1);
  abort();
}
static void wait_for(const uint64_t* round) {
  self->round = round;
  self->waits_for = *round;
  shim_switch(&self->context, &scheduler);
}
static void entry() {
  body(body_args);
  if (!self->open.empty()) fail("asynchronous copies that nobody commits");
  self->done = true;
  running--;
  shim_switch(&self->context, &scheduler);
  abort();
}
static void block_barrier() {
  if (self->barriers++ == skip) return;
  if (++arrived == thread_count) { arrived = 0; block_round++; } else wait_for(&block_round);
}
// All lanes hand in a slot; the last one to come does `all` for everybody. Two sets of slots, as some are still read in the next round.
enum Kind { BARRIER, SHUFFLE, LDMATRIX, LDMATRIX_T, MMA_BF16, MMA_F16, MMA_U8 };
template <class F> static Slot* exchange(Kind kind, const Slot& mine, F all) {
  Warp& w = warps[self_index / LANES];
  int set = w.round & 1, lane = self_index % LANES;
  if (w.arrived == 0) w.kind[set] = kind; else if (w.kind[set] != kind) fail("lanes of a warp at different operations");
  w.slots[set][lane] = mine;
  if (++w.arrived == w.lanes) { all(w.slots[set]); w.arrived = 0; w.round++; } else wait_for(&w.round);
  return w.slots[set];
}

static void start() {
  if (shared) return;
  const char* o = getenv("SHIM_ORDER");
  order = o ? atoi(o) : 0;
  early = getenv("SHIM_EARLY") != nullptr;
  const char* s = getenv("SHIM_SKIP");
  skip = s ? atoi(s) : -1;
  char* memory = (char*)mmap(nullptr, (size_t)MOST_THREADS * STACK_BYTES + MOST_SHARED + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) { perror("shim: memory"); abort(); }
  shared = (unsigned char*)memory + (size_t)MOST_THREADS * STACK_BYTES;
}
static char* stack_of(int thread) { return (char*)shared - (size_t)(MOST_THREADS - thread) * STACK_BYTES; }

static void run_block(unsigned shared_bytes) {
  memset(shared, 0xff, shared_bytes + GUARD);
  int count = (thread_count + LANES - 1) / LANES;
  for (int w = 0; w < count; w++) { warps[w].arrived = 0; warps[w].round = 0; warps[w].lanes = min(LANES, thread_count - w * LANES); }
  arrived = 0;
  running = thread_count;
  static const uint64_t never = 0;
  for (int i = 0; i < thread_count; i++) {
    Thread& t = threads[i];
    t.done = false;
    t.barriers = 0;
    t.groups.clear();
    t.open.clear();
    t.at = dim3(i % block_dim.x, i / block_dim.x % block_dim.y, i / block_dim.x / block_dim.y);
    t.round = &never;
    t.waits_for = 1;
    prepare(t.context, stack_of(i), entry);
  }
  unsigned seed = 12345;
  while (running) {
    bool moved = false;
    for (int v = 0; v < count; v++) {
      int w = order == 2 ? (int)((seed = seed * 1664525 + 1013904223) >> 16) % count : order == 1 ? count - 1 - v : v;
      // A warp goes as far as it can before another has its turn.
      for (bool goes = true; goes;) {
        goes = false;
        for (int l = 0; l < warps[w].lanes; l++) {
          int t = w * LANES + (order == 1 ? warps[w].lanes - 1 - l : l);
          if (threads[t].done || *threads[t].round == threads[t].waits_for) continue;
          self = &threads[t];
          self_index = t;
          shim_switch(&scheduler, &self->context);
          goes = moved = true;
        }
      }
    }
    if (!moved && order == 2) for (int t = 0; t < thread_count; t++) moved |= !threads[t].done && *threads[t].round != threads[t].waits_for;
    if (!moved) fail("deadlock: a barrier or a warp operation that not all threads reach");
  }
  self = nullptr;
  for (int i = 0; i < GUARD; i++) if (shared[shared_bytes + i] != 0xff) fail("a write behind shared memory");
}

// ---- kernels by name ------------------------------------------------------------------------------------------------

struct Entry { void (*run)(const void*); unsigned threads; size_t args_bytes; };
inline std::map<std::string, Entry>& kernels() { static std::map<std::string, Entry> all; return all; }
struct Register { Register(const char* name, Entry e) { kernels()[name] = e; } };

static bool launch(const std::string& name, const Entry& e, dim3 grid, dim3 block, unsigned shared_bytes, const void* args) {
  start();
  unsigned count = block.x * block.y * block.z;
  if (count == 0 || count > e.threads || !grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || shared_bytes > MOST_SHARED) return false;
  kernel_name = name.c_str();
  body = e.run;
  body_args = args;
  grid_dim = grid;
  block_dim = block;
  thread_count = (int)count;
  for (unsigned z = 0; z < grid.z; z++) for (unsigned y = 0; y < grid.y; y++) for (unsigned x = 0; x < grid.x; x++) {
    block_at = dim3(x, y, z);
    run_block(shared_bytes);
  }
  return true;
}
}  // namespace shim

#define KERNEL(threads, name, Args) \
  static void name(const Args& a); \
  static void run_##name(const void* p) { name(*(const Args*)p); } \
  static shim::Register register_##name(#name, {run_##name, threads, sizeof(Args)}); \
  static void name(const Args& a)
#define threadIdx (shim::self->at)
#define blockIdx (shim::block_at)
#define blockDim (shim::block_dim)
#define gridDim (shim::grid_dim)
#define __syncthreads() shim::block_barrier()
DEVICE unsigned char* shared_memory() { return shim::shared; }

// ---- warp operations ------------------------------------------------------------------------------------------------

DEVICE void __syncwarp() { shim::exchange(shim::BARRIER, shim::Slot{}, [](shim::Slot*) {}); }
DEVICE float shuffle_xor(float v, int mask) {
  shim::Slot s;
  memcpy(s.in, &v, 4);
  shim::Slot* all = shim::exchange(shim::SHUFFLE, s, [](shim::Slot*) {});
  memcpy(&v, all[(shim::self_index % 32) ^ mask].in, 4);
  return v;
}
DEVICE void shim_ldmatrix(unsigned (&r)[4], const void* row, bool transposed) {
  if ((uintptr_t)row % 16) shim::fail("ldmatrix: a row that does not start at 16 bytes");
  if ((unsigned char*)row < shim::shared || (unsigned char*)row + 16 > shim::shared + shim::MOST_SHARED) shim::fail("ldmatrix outside shared memory");
  shim::Slot s;
  s.address = row;
  shim::Slot* all = shim::exchange(transposed ? shim::LDMATRIX_T : shim::LDMATRIX, s, [&](shim::Slot* slots) {
    for (int l = 0; l < 32; l++) for (int i = 0; i < 4; i++) {
      if (transposed) {
        uint16_t lower = ((const uint16_t*)slots[i * 8 + l % 4 * 2].address)[l / 4], upper = ((const uint16_t*)slots[i * 8 + l % 4 * 2 + 1].address)[l / 4];
        slots[l].out[i] = lower | (unsigned)upper << 16;
      } else memcpy(&slots[l].out[i], (const char*)slots[i * 8 + l / 4].address + l % 4 * 4, 4);
    }
  });
  memcpy(r, all[shim::self_index % 32].out, 16);
}
DEVICE void ldmatrix_x4(unsigned (&r)[4], const void* row) { shim_ldmatrix(r, row, false); }
DEVICE void ldmatrix_x4_transposed(unsigned (&r)[4], const void* row) { shim_ldmatrix(r, row, true); }

DEVICE float float_of_bf16(unsigned short bits) { uint32_t u = (uint32_t)bits << 16; float f; memcpy(&f, &u, 4); return f; }
DEVICE unsigned short bits_of_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
DEVICE float float_of_f16(unsigned short bits) { _Float16 h; memcpy(&h, &bits, 2); return (float)h; }
DEVICE unsigned short bits_of_f16(float f) { _Float16 h = (_Float16)fminf(fmaxf(f, -65504.f), 65504.f); unsigned short u; memcpy(&u, &h, 2); return u; }

// Fragments of m16n8k16, as the PTX ISA has them; one lane computes for all. Sums are those that were found on cards (Fasi, Higham,
// Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, 2021): eight products at once, then cut off, not rounded.
typedef double shim_v8 __attribute__((vector_size(64)));
DEVICE double shim_cut_off(double v) {
  float f = (float)v;
  uint32_t bits;
  memcpy(&bits, &f, 4);
  bits -= fabs((double)f) > fabs(v);
  memcpy(&f, &bits, 4);
  return f;
}
typedef int shim_i8 __attribute__((vector_size(32)));
template <class Decode> static void shim_mma(shim::Slot* slots, Decode decode) {
  double a[16][16];
  shim_v8 b[16], d[16];
  for (int l = 0; l < 32; l++) for (int half = 0; half < 2; half++) {
    int g = l / 4, t = l % 4 * 2 + half;
    for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 8] = decode((uint16_t)(slots[l].in[4 + i] >> 16 * half));
    for (int i = 0; i < 2; i++) b[t + i * 8][g] = decode((uint16_t)(slots[l].in[8 + i] >> 16 * half));
    for (int i = 0; i < 2; i++) { float v; memcpy(&v, &slots[l].in[i * 2 + half], 4); d[g + i * 8][t] = v; }
  }
  for (int r = 0; r < 16; r++) {
    for (int k0 = 0; k0 < 16; k0 += 8) {
      for (int k = k0; k < k0 + 8; k++) d[r] += a[r][k] * b[k];
      for (int c = 0; c < 8; c++) d[r][c] = shim_cut_off(d[r][c]);
    }
  }
  for (int l = 0; l < 32; l++) for (int e = 0; e < 4; e++) { float v = (float)d[l / 4 + e / 2 * 8][l % 4 * 2 + e % 2]; memcpy(&slots[l].out[e], &v, 4); }
}
template <class D, class F> DEVICE void shim_mma_exchange(shim::Kind kind, D (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, F compute) {
  shim::Slot s;
  memcpy(s.in, d, 16);
  memcpy(s.in + 4, a, 16);
  s.in[8] = b0;
  s.in[9] = b1;
  memcpy(d, shim::exchange(kind, s, compute)[shim::self_index % 32].out, 16);
}
DEVICE void mma_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  shim_mma_exchange(shim::MMA_BF16, d, a, b0, b1, [](shim::Slot* s) { shim_mma(s, float_of_bf16); });
}
DEVICE void mma_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  shim_mma_exchange(shim::MMA_F16, d, a, b0, b1, [](shim::Slot* s) { shim_mma(s, float_of_f16); });
}
DEVICE void mma_u8_s8(int (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  shim_mma_exchange(shim::MMA_U8, d, a, b0, b1, [](shim::Slot* slots) {
    int x[16][32];
    shim_i8 w[32], sums[16];
    for (int l = 0; l < 32; l++) {
      int g = l / 4, t = l % 4 * 4;
      for (int byte = 0; byte < 4; byte++) {
        for (int i = 0; i < 4; i++) x[g + i % 2 * 8][t + byte + i / 2 * 16] = (uint8_t)(slots[l].in[4 + i] >> 8 * byte);
        for (int i = 0; i < 2; i++) w[t + byte + i * 16][g] = (int8_t)(slots[l].in[8 + i] >> 8 * byte);
      }
      for (int e = 0; e < 4; e++) sums[g + e / 2 * 8][l % 4 * 2 + e % 2] = (int)slots[l].in[e];
    }
    for (int r = 0; r < 16; r++) for (int k = 0; k < 32; k++) sums[r] += x[r][k] * w[k];
    for (int l = 0; l < 32; l++) for (int e = 0; e < 4; e++) slots[l].out[e] = (unsigned)sums[l / 4 + e / 2 * 8][l % 4 * 2 + e % 2];
  });
}

// ---- asynchronous copies --------------------------------------------------------------------------------------------

DEVICE void shim_copy(const shim::Copy& c) { memset(c.to, 0, 16); memcpy(c.to, c.from, c.bytes); }
DEVICE void cp_async_16(void* to, const void* from, int bytes) {
  if ((uintptr_t)to % 16 || (uintptr_t)from % 16) shim::fail("cp.async: not on 16 bytes");
  if (bytes < 0 || bytes > 16) shim::fail("cp.async of more than 16 bytes");
  if (shim::early) shim_copy({to, from, bytes}); else shim::self->open.push_back({to, from, bytes});
}
DEVICE void cp_async_commit() { shim::self->groups.push_back(shim::self->open); shim::self->open.clear(); }
template <int N> DEVICE void cp_async_wait() {
  auto& groups = shim::self->groups;
  while ((int)groups.size() > N) { for (auto& c : groups[0]) shim_copy(c); groups.erase(groups.begin()); }
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

DEVICE float multiply_rounded(float a, float b) { return a * b; }
DEVICE float add_rounded(float a, float b) { return a + b; }
DEVICE int nearest_int(float v) { return isnan(v) ? 0 : v >= 2147483648.f ? INT32_MAX : v <= -2147483648.f ? INT32_MIN : (int)rintf(v); }
DEVICE float exp2_fast(float v) { return exp2f(v); }
DEVICE float sine(float v) { return sinf(v); }
DEVICE float cosine(float v) { return cosf(v); }
DEVICE bool is_finite(float v) { return isfinite(v); }
DEVICE float not_a_number() { return NAN; }
DEVICE float infinity() { return INFINITY; }
