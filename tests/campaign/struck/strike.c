// Lets one call of the C library fail, or that call and all later ones: allocations, or what takes room on a disk.
//
// It is preloaded (struck/server.py). A call that the C library makes to itself, as `fwrite` does to `write`, is not seen.
// Nor are allocations whose failure others do not notice, but crash: MLX 0.32.4 (on a CPU), and NumPy 2.4.6 where they are
// not for the numbers of an array.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, MEMORY, DISK };

static int kind = NOTHING, ever;
static long number;
static size_t least;
static _Atomic long seen, struck;

// Count calls of a kind, of at least so many bytes, and let call `at` fail; if `on`, all later ones too. -1: none.
void strike(int of, long at, size_t bytes, int on) {
  kind = NOTHING;
  seen = struck = 0;
  number = at, least = bytes, ever = on;
  kind = of;
}

void strike_end(void) { kind = NOTHING; }
long strike_seen(void) { return seen; }
long strike_struck(void) { return struck; }

static const void* of_arrays[8];  // where NumPy asks for the memory of arrays
static size_t learning;
static __thread int sheltered;

// The next allocation of so many bytes is of an array of NumPy.
void strike_learn(size_t bytes) { learning = bytes; }

static int is_from(const void* caller, const char* library) {
  Dl_info from;
  return dladdr(caller, &from) && from.dli_fname != NULL && strstr(from.dli_fname, library) != NULL;
}

static void learn(const void* caller, size_t bytes) {
  if (bytes != learning || !is_from(caller, "_multiarray_umath")) return;
  learning = 0;
  for (int i = 0; i < 8; i++) {
    if (of_arrays[i] == caller) return;
    if (of_arrays[i] == NULL) {
      of_arrays[i] = caller;
      return;
    }
  }
}

static int careless(const void* caller) {
  if (sheltered || is_from(caller, "/mlx/")) return 1;
  if (!is_from(caller, "_multiarray_umath")) return 0;
  for (int i = 0; i < 8; i++)
    if (of_arrays[i] == caller) return 0;
  return 1;
}

// C++'s `new`: it asks for memory in another library's name.
void* _Znwm(size_t size) {
  static void* (*next)(size_t);
  if (next == NULL) next = (void* (*)(size_t))dlsym(RTLD_NEXT, "_Znwm");
  const int before = sheltered;
  sheltered = before || (kind == MEMORY && is_from(__builtin_return_address(0), "/mlx/"));
  void* found = next(size);
  sheltered = before;
  return found;
}

static int fails(int of, size_t bytes) {
  if (of != kind || bytes < least) return 0;
  const long now = atomic_fetch_add(&seen, 1);
  if (number < 0 || (ever ? now < number : now != number)) return 0;
  atomic_fetch_add(&struck, 1);
  errno = of == MEMORY ? ENOMEM : ENOSPC;
  return 1;
}

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

// Inlined, so that the return address is that of the caller.
static inline __attribute__((always_inline)) int short_of(size_t bytes) {
  const void* caller = __builtin_return_address(0);
  if (learning) learn(caller, bytes);
  return kind == MEMORY && bytes >= least && !careless(caller) && fails(MEMORY, bytes);
}

void* malloc(size_t size) { return short_of(size) ? NULL : __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return short_of(count * size) ? NULL : __libc_calloc(count, size); }
void* realloc(void* at, size_t size) { return short_of(size) ? NULL : __libc_realloc(at, size); }
void* memalign(size_t to, size_t size) { return short_of(size) ? NULL : __libc_memalign(to, size); }
void* aligned_alloc(size_t to, size_t size) { return short_of(size) ? NULL : __libc_memalign(to, size); }

int posix_memalign(void** at, size_t to, size_t size) {
  void* found = short_of(size) ? NULL : __libc_memalign(to, size);
  if (found == NULL) return ENOMEM;
  *at = found;
  return 0;
}

void* mmap(void* at, size_t size, int protection, int flags, int file, off_t offset) {
  if (flags & MAP_ANONYMOUS && short_of(size)) return MAP_FAILED;
  return (void*)syscall(SYS_mmap, at, size, protection, flags, file, offset);
}
void* mmap64(void* at, size_t size, int protection, int flags, int file, off_t offset) {
  return mmap(at, size, protection, flags, file, offset);
}

static int full(int file, size_t bytes) {
  struct stat state;
  return kind == DISK && fstat(file, &state) == 0 && S_ISREG(state.st_mode) && fails(DISK, bytes);
}

ssize_t write(int file, const void* from, size_t size) {
  return full(file, size) ? -1 : syscall(SYS_write, file, from, size);
}
ssize_t writev(int file, const struct iovec* from, int count) {
  return full(file, 1) ? -1 : syscall(SYS_writev, file, from, count);
}
ssize_t pwrite(int file, const void* from, size_t size, off_t at) {
  return full(file, size) ? -1 : syscall(SYS_pwrite64, file, from, size, at);
}
ssize_t pwrite64(int file, const void* from, size_t size, off_t at) { return pwrite(file, from, size, at); }
ssize_t copy_file_range(int in, off_t* from, int out, off_t* to, size_t size, unsigned flags) {
  return full(out, size) ? -1 : syscall(SYS_copy_file_range, in, from, out, to, size, flags);
}
ssize_t sendfile(int out, int in, off_t* from, size_t size) {
  return full(out, size) ? -1 : syscall(SYS_sendfile, out, in, from, size);
}
ssize_t sendfile64(int out, int in, off_t* from, size_t size) { return sendfile(out, in, from, size); }
int fsync(int file) { return full(file, 1) ? -1 : (int)syscall(SYS_fsync, file); }
int fdatasync(int file) { return full(file, 1) ? -1 : (int)syscall(SYS_fdatasync, file); }
int posix_fallocate(int file, off_t at, off_t size) {
  return full(file, (size_t)size) || syscall(SYS_fallocate, file, 0, at, size) ? errno : 0;
}
int posix_fallocate64(int file, off_t at, off_t size) { return posix_fallocate(file, at, size); }

int linkat(int in, const char* from, int out, const char* to, int flags) {
  return fails(DISK, 1) ? -1 : (int)syscall(SYS_linkat, in, from, out, to, flags);
}
int link(const char* from, const char* to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int rename(const char* from, const char* to) { return fails(DISK, 1) ? -1 : (int)syscall(SYS_rename, from, to); }
int mkdir(const char* name, mode_t mode) { return fails(DISK, 1) ? -1 : (int)syscall(SYS_mkdir, name, mode); }

static int opened(int in, const char* name, int flags, mode_t mode) {
  const int makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
  return makes && fails(DISK, 1) ? -1 : (int)syscall(SYS_openat, in, name, flags, mode);
}
#define OPENS(name, in, ...)                         \
  int name(__VA_ARGS__, int flags, ...) {            \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    const mode_t mode = va_arg(rest, mode_t);        \
    va_end(rest);                                    \
    return opened(in, path, flags, mode);            \
  }
OPENS(open, AT_FDCWD, const char* path)
OPENS(open64, AT_FDCWD, const char* path)
OPENS(openat, folder, int folder, const char* path)
OPENS(openat64, folder, int folder, const char* path)
