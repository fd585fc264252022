// What Python calls: the list of paths, whether this CPU can run a path, and one function for each operation.
#include <cstring>

#include "float_mode.h"
#include "zvae.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#define DECLARE(name) extern "C" const Path zvae_path_##name;
ZVAE_PATHS(DECLARE)

namespace {

#define POINTER(name) &zvae_path_##name,
const Path* const paths[] = {ZVAE_PATHS(POINTER)};

enum Runs : int64_t { NO, YES, FAST };  // FAST: may be chosen by default

#if defined(__x86_64__)

// On Linux a process must request the state of the tiles, 8 kB for each thread.
bool allowed_tiles() {
#if defined(__linux__)
  unsigned a, b, c, d;
  const unsigned both = 1u << 22 | 1u << 24;  // AMX-BF16, AMX-TILE
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & both) != both) return false;
  const long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

// Reads the bit of F16C, because not every compiler's __builtin_cpu_supports knows it.
bool converts_halves() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

// Reads the bit of products of bfloat16, whose name older compilers may not know.
bool multiplies_bfloat16() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

int64_t runs(const char* name) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && converts_halves();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bfloat16 = avx512 && multiplies_bfloat16();
  if (!strcmp(name, "avx2")) return avx2 ? FAST : NO;
  const bool integers = avx512 && __builtin_cpu_supports("avx512vnni");
  if (!strcmp(name, "avx512vnni")) return integers ? FAST : NO;
  if (!strcmp(name, "avx512")) return avx512 ? FAST : NO;
  // AMD multiplies pairs of bfloat16 at twice the rate of float32. Intel, without AMX, has the same rate for both.
  if (!strcmp(name, "avx512bf16")) return !bfloat16 || !integers ? NO : __builtin_cpu_is("amd") ? FAST : YES;
  if (!strcmp(name, "amx")) return bfloat16 && allowed_tiles() ? FAST : NO;
  return YES;
}

#elif defined(__aarch64__)

// Whether there are products of bfloat16.
bool multiplies_bfloat16() {
#if defined(__linux__)
  const unsigned long bfloat16 = 1 << 14;  // HWCAP2_BF16, which older headers do not name
  return getauxval(AT_HWCAP2) & bfloat16;
#elif defined(__APPLE__)
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has;
#else
  return false;
#endif
}

int64_t runs(const char* name) {
  if (!strcmp(name, "neon")) return FAST;  // every such CPU has NEON
  if (!strcmp(name, "neon_bf16")) return multiplies_bfloat16() ? FAST : NO;
  return YES;
}

#else

int64_t runs(const char*) { return YES; }

#endif

void copy_row(const void* context, int64_t row, int64_t) {
  const Copy& c = *(const Copy*)context;
  memcpy((char*)c.out + row * c.bytes, c.in[row], c.bytes);
}

}  // namespace

extern "C" {

// Python checks these before its first call (devices/native_cpu/library.py).
extern const int64_t zvae_contract[];
const int64_t zvae_contract[] = {CONTRACT, sizeof(Path), sizeof(Conv), sizeof(Pack), sizeof(Attend), sizeof(Moments), sizeof(ReadBack), sizeof(Copy)};

int64_t zvae_paths() { return sizeof(paths) / sizeof(*paths); }
const Path* zvae_path(int64_t path) { return paths[path]; }
int64_t zvae_runs(int64_t path) { return runs(paths[path]->name); }
void zvae_conv(int64_t path, const Conv* conv) {
  const FloatMode mode;
  paths[path]->conv(*conv);
}
void zvae_pack(int64_t path, const Pack* pack) {
  const FloatMode mode;
  paths[path]->pack(*pack);
}
void zvae_attend(int64_t path, const Attend* attend) {
  const FloatMode mode;
  paths[path]->attend(*attend);
}
void zvae_moments(int64_t path, const Moments* moments) {
  const FloatMode mode;
  paths[path]->moments(*moments);
}
void zvae_readback(int64_t path, const ReadBack* memory) {
  const FloatMode mode;
  paths[path]->read_back(*memory);
}
void zvae_copy(int64_t, const Copy* copy) { parallel(copy->rows, copy->threads, copy_row, copy); }
int64_t zvae_peak(int64_t path, int64_t rounds) {
  float sink = 0;
  return paths[path]->peak(rounds, &sink);
}

}  // extern "C"
