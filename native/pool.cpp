// Threads of our own: started once, asleep between calls, and started anew in a process that was forked.
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "zvae.h"

namespace {

struct Pool {
  explicit Pool(int64_t threads) : owner(getpid()), size(threads) {
    for (int64_t thread = 1; thread < threads; thread++) std::thread([this, thread] { serve(thread); }).detach();
  }

  void run(int64_t count, void (*do_work)(const void*, int64_t, int64_t), const void* with) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      items = count, work = do_work, context = with, next = 0, busy = size - 1;
      generation++;
    }
    wake.notify_all();
    take(0);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [this] { return busy == 0; });
  }

  void serve(int64_t thread) {
    for (int64_t seen = 0;;) {
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return generation != seen; });
        seen = generation;
      }
      take(thread);
      std::lock_guard<std::mutex> lock(mutex);
      if (--busy == 0) done.notify_one();
    }
  }

  void take(int64_t thread) {
    if (thread >= items) return;  // there is scratch for as many threads as there are items
    for (int64_t item; (item = next++) < items;) work(context, item, thread);
  }

  const pid_t owner;
  const int64_t size;
  std::mutex mutex;
  std::condition_variable wake, done;
  int64_t generation = 0, items = 0, busy = 0;
  std::atomic<int64_t> next{0};
  void (*work)(const void*, int64_t, int64_t) = nullptr;
  const void* context = nullptr;
};

std::mutex callers;  // one call at a time: two would share the threads and the scratch
int64_t wanted = 1;
Pool* pool = nullptr;  // never freed: at exit its threads may still sleep in it

void renew() { new (&callers) std::mutex; }  // the fork may have caught another thread inside a call

}  // namespace

extern "C" void zvae_set_threads(int64_t threads) {
  static const int registered = pthread_atfork(nullptr, nullptr, renew);
  (void)registered;
  std::lock_guard<std::mutex> lock(callers);
  wanted = threads;
}

void parallel(int64_t items, void (*work)(const void*, int64_t, int64_t), const void* context) {
  std::lock_guard<std::mutex> lock(callers);
  if (wanted == 1 || items == 1) {
    for (int64_t item = 0; item < items; item++) work(context, item, 0);
    return;
  }
  if (pool == nullptr || pool->owner != getpid() || pool->size != wanted) pool = new Pool(wanted);
  pool->run(items, work, context);
}
