// A pool of threads. They start when first needed, and sleep between calls. A forked process starts its own.
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "float_mode.h"
#include "zvae.h"

namespace {

struct Pool {
  // Starts threads until there are `threads`, with the caller's. Returns how many can run: fewer at a system limit.
  int64_t grow(int64_t threads) {
    try {
      for (; size < threads; size++)
        std::thread([this, thread = size, seen = generation] { serve(thread, seen); }).detach();
    } catch (const std::exception&) {  // a limit of processes or memory: continue with those that started
    }
    return least(size, threads);
  }

  void run(int64_t count, int64_t threads, void (*do_work)(const void*, int64_t, int64_t), const void* with) {
    threads = grow(least(threads, count));
    {
      std::lock_guard<std::mutex> lock(mutex);
      items = count, taking = threads, work = do_work, context = with, next = 0, busy = threads - 1;
      generation++;
    }
    wake.notify_all();
    take(0);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [this] { return busy == 0; });
  }

  // Threads from number `taking` on have no scratch in a call. They sleep through it, and run() does not wait for them.
  void serve(int64_t thread, int64_t seen) {
    const FloatMode mode;  // it begins in that of the thread which started it
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return generation != seen && thread < taking; });
        seen = generation;
      }
      take(thread);
      std::lock_guard<std::mutex> lock(mutex);
      if (--busy == 0) done.notify_one();
    }
  }

  void take(int64_t thread) {
    for (int64_t item; (item = next++) < items;) work(context, item, thread);
  }

  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

  int64_t size = 1;
  std::mutex mutex;
  std::condition_variable wake, done;
  int64_t generation = 0, items = 0, taking = 0, busy = 0;
  std::atomic<int64_t> next{0};
  void (*work)(const void*, int64_t, int64_t) = nullptr;
  const void* context = nullptr;
};

std::mutex callers;    // one call at a time, because two would share the threads
Pool* pool = nullptr;  // never freed, because its threads may still sleep in it at exit

// A forked process has none of the threads, and `callers` may be locked if the fork came during a call.
void renew() {
  new (&callers) std::mutex;
  pool = nullptr;
}

const int registered = pthread_atfork(nullptr, nullptr, renew);

}  // namespace

void parallel(int64_t items, int64_t threads, void (*work)(const void*, int64_t, int64_t), const void* context) {
  if (threads <= 1 || items <= 1) {
    for (int64_t item = 0; item < items; item++) work(context, item, 0);
    return;
  }
  std::lock_guard<std::mutex> lock(callers);
  if (pool == nullptr) pool = new Pool;
  pool->run(items, threads, work, context);
}
