// A libcuda.so for tests: device memory is host memory, and kernels run in cpu_shim.h. The backend runs on it as it is shipped.
//
// Work in the queue waits until somebody waits for it, as late as a real queue may be (FAKE_CUDA_EAGER: at once, as early as it
// may). FAKE_CUDA_BYTES is the device's memory. Around every block lies memory that nobody may write; it is looked at whenever
// somebody waits. The functions fake_* count and fail on demand.
#include "../samovar.cu"
#include <deque>
#include <functional>
#include <mutex>

#define API extern "C" __attribute__((visibility("default"))) int
typedef unsigned long long dptr;

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719 };
static const size_t FENCE = 512;
struct Block { size_t bytes; bool pinned; };
struct Event { unsigned long long behind; };
static std::recursive_mutex lock_;
static std::map<dptr, Block> blocks;
static size_t used, most_used;
static std::deque<std::function<int()>> queue;
static unsigned long long queued, done, launches, waits;
// A failure in the queue spoils the context: every later call answers it, as a card does.
static int spoiled;
static long long fail_allocation = -1, fail_launch = -1, fail_work = -1, fail_pin = -1;
static int context_;

#define LOCKED std::lock_guard<std::recursive_mutex> guard(lock_); if (spoiled) return spoiled
static size_t total() { const char* e = getenv("FAKE_CUDA_BYTES"); return e ? strtoull(e, nullptr, 10) : 2ull << 30; }
static bool counts_down(long long& count) { return count >= 0 && count-- == 0; }
static void look_at_fences() {
  for (auto& b : blocks) for (size_t i = 0; i < FENCE; i++) {
    const unsigned char *before = (unsigned char*)b.first - FENCE, *behind = (unsigned char*)b.first + b.second.bytes;
    if (before[i] != 0xff || behind[i] != 0xff) { fprintf(stderr, "fake libcuda: a write beside a block of %zu bytes\n", b.second.bytes); abort(); }
  }
}
static int run_until(unsigned long long place) {
  while (done < place && !spoiled) {
    auto work = queue.front();
    queue.pop_front();
    done++;
    int outcome = work();
    if (outcome) spoiled = outcome;
  }
  return spoiled;
}
static int enqueue(std::function<int()> work) {
  queue.push_back(std::move(work));
  queued++;
  if (counts_down(fail_work)) queue.back() = [] { return ILLEGAL_ADDRESS; };
  static const bool eager = getenv("FAKE_CUDA_EAGER") != nullptr;
  if (eager) { run_until(queued); return SUCCESS; }
  // A real queue has an end, too.
  if (queue.size() > 1024) run_until(queued - 512);
  return SUCCESS;
}
static int take(dptr* p, size_t bytes, bool pinned) {
  if (!bytes) return INVALID_VALUE;
  if (!pinned && (counts_down(fail_allocation) || used + bytes > total())) return OUT_OF_MEMORY;
  if (pinned && counts_down(fail_pin)) return OUT_OF_MEMORY;
  char* m = (char*)aligned_alloc(FENCE, (bytes + 2 * FENCE + FENCE - 1) / FENCE * FENCE);
  if (!m) return OUT_OF_MEMORY;
  memset(m, 0xff, bytes + 2 * FENCE);
  *p = (dptr)(m + FENCE);
  blocks[*p] = {bytes, pinned};
  if (!pinned) { used += bytes; most_used = max(most_used, used); }
  return SUCCESS;
}
static int give(dptr p, bool pinned) {
  auto b = blocks.find(p);
  if (b == blocks.end() || b->second.pinned != pinned) return INVALID_VALUE;
  look_at_fences();
  if (!pinned) used -= b->second.bytes;
  free((char*)p - FENCE);
  blocks.erase(b);
  return SUCCESS;
}
static bool inside(dptr p, size_t bytes, bool pinned) {
  auto b = blocks.upper_bound(p);
  if (b == blocks.begin()) return false;
  --b;
  return b->second.pinned == pinned && p + bytes <= b->first + b->second.bytes;
}

API cuInit(unsigned) { return SUCCESS; }
API cuDeviceGetCount(int* n) { const char* e = getenv("FAKE_CUDA_DEVICES"); *n = e ? atoi(e) : 1; return SUCCESS; }
API cuDeviceGet(int* d, int ordinal) { int n; cuDeviceGetCount(&n); *d = ordinal; return ordinal >= 0 && ordinal < n ? SUCCESS : INVALID_DEVICE; }
API cuDeviceGetName(char* s, int n, int) { snprintf(s, n, "fake CUDA device"); return SUCCESS; }
API cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = total(); return SUCCESS; }
API cuDeviceGetAttribute(int* v, int attribute, int) {
  switch (attribute) {
    case 16: *v = 4; break;            // multiprocessors
    case 75: { const char* e = getenv("FAKE_CUDA_CAPABILITY"); *v = e ? atoi(e) : 9; break; }
    case 76: *v = 0; break;
    case 97: *v = 99 << 10; break;     // shared memory of a block, of the cards that have least
    default: return INVALID_VALUE;
  }
  return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void** c, int) { *c = &context_; return SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
static thread_local bool entered;
API cuCtxSetCurrent(void* c) { entered = c == &context_; return SUCCESS; }
#define ENTERED if (!entered) { fprintf(stderr, "fake libcuda: %s without a context\n", __func__); abort(); } LOCKED
API cuMemGetInfo_v2(size_t* f, size_t* t) { ENTERED; *t = total(); *f = *t - used; return SUCCESS; }
API cuMemAlloc_v2(dptr* p, size_t bytes) { ENTERED; return take(p, bytes, false); }
API cuMemFree_v2(dptr p) { ENTERED; run_until(queued); return give(p, false); }
API cuMemHostAlloc(void** p, size_t bytes, unsigned) { ENTERED; return take((dptr*)p, bytes, true); }
API cuMemFreeHost(void* p) { ENTERED; run_until(queued); return give((dptr)p, true); }
API cuMemcpyHtoDAsync_v2(dptr d, const void* s, size_t n, void*) {
  ENTERED;
  if (!inside(d, n, false)) return INVALID_VALUE;
  // From memory that is not pinned the driver copies before it returns.
  if (inside((dptr)s, n, true)) return enqueue([=] { memcpy((void*)d, s, n); return SUCCESS; });
  std::vector<char> bytes((const char*)s, (const char*)s + n);
  return enqueue([d, bytes] { memcpy((void*)d, bytes.data(), bytes.size()); return SUCCESS; });
}
API cuMemcpyDtoHAsync_v2(void* d, dptr s, size_t n, void*) {
  ENTERED;
  if (!inside(s, n, false)) return INVALID_VALUE;
  return enqueue([=] { memcpy(d, (void*)s, n); return SUCCESS; });
}
API cuModuleLoadData(void** m, const void* image) { ENTERED; *m = &context_; return *(const unsigned*)image == 0xba55ed50 ? SUCCESS : 200; }
API cuModuleUnload(void*) { return SUCCESS; }
API cuModuleGetFunction(void** f, void*, const char* name) {
  ENTERED;
  auto k = shim::kernels().find(name);
  if (k == shim::kernels().end()) return NOT_FOUND;
  *f = &*k;
  return SUCCESS;
}
API cuFuncSetAttribute(void*, int attribute, int value) { ENTERED; return attribute == 8 && value <= 99 << 10 ? SUCCESS : INVALID_VALUE; }
API cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void*, void** parameters, void**) {
  ENTERED;
  if (counts_down(fail_launch)) return LAUNCH_FAILED;
  if (shared > 99 << 10) return INVALID_VALUE;
  launches++;
  auto k = (std::pair<const std::string, shim::Entry>*)f;
  std::vector<char> args((char*)parameters[0], (char*)parameters[0] + k->second.args_bytes);
  return enqueue([=] { return shim::launch(k->first, k->second, dim3(gx, gy, gz), dim3(bx, by, bz), shared, args.data()) ? SUCCESS : INVALID_VALUE; });
}
API cuStreamCreate(void** s, unsigned) { ENTERED; *s = &context_; return SUCCESS; }
API cuStreamDestroy_v2(void*) { return SUCCESS; }
API cuStreamSynchronize(void*) { ENTERED; waits++; int outcome = run_until(queued); look_at_fences(); return outcome; }
API cuEventCreate(void** e, unsigned) { ENTERED; *e = new Event{0}; return SUCCESS; }
API cuEventRecord(void* e, void*) { ENTERED; ((Event*)e)->behind = queued; return SUCCESS; }
API cuEventSynchronize(void* e) { ENTERED; int outcome = run_until(((Event*)e)->behind); look_at_fences(); return outcome; }
API cuEventDestroy_v2(void* e) { delete (Event*)e; return SUCCESS; }
API cuGetErrorName(int e, const char** s) {
  switch (e) {
    case OUT_OF_MEMORY: *s = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case ILLEGAL_ADDRESS: *s = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case LAUNCH_FAILED: *s = "CUDA_ERROR_LAUNCH_FAILED"; break;
    case INVALID_DEVICE: *s = "CUDA_ERROR_INVALID_DEVICE"; break;
    default: *s = "CUDA_ERROR_OF_THE_FAKE_DRIVER";
  }
  return SUCCESS;
}
API cuGetErrorString(int e, const char** s) { return cuGetErrorName(e, s); }

// ---- for tests ------------------------------------------------------------------------------------------------------

// The request for memory, launch, piece of work, pinned buffer after `count` more ones fails, once; -1: none.
extern "C" __attribute__((visibility("default"))) void fake_fail(int what, long long count) {
  std::lock_guard<std::recursive_mutex> guard(lock_);
  (what == 0 ? fail_allocation : what == 1 ? fail_launch : what == 2 ? fail_work : fail_pin) = count;
}
// Bytes in use now; most so far; launches; waits for the queue; failures still to come.
extern "C" __attribute__((visibility("default"))) unsigned long long fake_count(int what) {
  std::lock_guard<std::recursive_mutex> guard(lock_);
  switch (what) {
    case 0: return used;
    case 1: return most_used;
    case 2: return launches;
    case 3: return waits;
    default: return (fail_allocation >= 0) + (fail_launch >= 0) + (fail_work >= 0) + (fail_pin >= 0);
  }
}
