// The native library, opened by its file: the same entry points that Python calls.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../../native/zvae.h"

struct Library {
  int64_t (*paths)();
  const Path* (*path)(int64_t);
  int64_t (*runs)(int64_t);
  void (*conv)(int64_t, const Conv*);
  void (*pack)(int64_t, const Pack*);
  void (*attend)(int64_t, const Attend*);
  void (*moments)(int64_t, const Moments*);
  void (*readback)(int64_t, const ReadBack*);

  explicit Library(const char* file) : handle(dlopen(file, RTLD_NOW)) {
    if (handle == nullptr) fail(dlerror());
    find(paths, "zvae_paths"), find(path, "zvae_path"), find(runs, "zvae_runs");
    find(conv, "zvae_conv"), find(pack, "zvae_pack"), find(attend, "zvae_attend");
    find(moments, "zvae_moments"), find(readback, "zvae_readback");
    const int64_t* contract;
    find(contract, "zvae_contract");
    const int64_t expected[] = {CONTRACT, sizeof(Path), sizeof(Conv), sizeof(Pack), sizeof(Attend), sizeof(Moments), sizeof(ReadBack)};
    if (memcmp(contract, expected, sizeof expected) != 0) fail("the library was built from another version of native/zvae.h");
  }

  int64_t number_of(const char* name) const {
    for (int64_t i = 0; i < paths(); i++)
      if (!strcmp(path(i)->name, name)) return i;
    fail(name);
    return -1;
  }

 private:
  void* handle;

  template <class Pointer>
  void find(Pointer& pointer, const char* name) {
    pointer = (Pointer)dlsym(handle, name);
    if (pointer == nullptr) fail(name);
  }

  static void fail(const char* why) {
    fprintf(stderr, "harness: %s\n", why);
    exit(2);
  }
};
