// Runs the native library's C functions on random cases and compares them with float64, without Python: so it also runs
// under emulation of another CPU.
//
//   harness LIBRARY          prints the numbers of every path that this CPU can run
//   harness LIBRARY CASES    runs the cases of a file that tests/native/cases.py wrote; returns 1 if one is wrong
#include "attention.h"
#include "convolution.h"
#include "row_moments.h"

static void print_paths(const Library& library) {
  for (int64_t i = 0; i < library.paths(); i++) {
    if (!library.runs(i)) continue;
    const Path& p = *library.path(i);
    const std::pair<const char*, int64_t> numbers[] = {
        {"pixels", p.pixels}, {"outputs", p.outputs}, {"lanes", p.lanes}, {"depth", p.depth}, {"number", p.number},
        {"tile_rows", p.tile_rows}, {"queries", p.queries}, {"panel_rows", p.panel_rows}, {"panel", p.panel},
        {"softmax_keys", p.softmax_keys}, {"small", p.small}, {"blocks", p.blocks}};
    printf("path %s", p.name);
    for (const auto& [name, number] : numbers) printf(" %s=%lld", name, (long long)number);
    printf("\n");
  }
}

static std::string difference(const Library& library, const Case& one) {
  Check check{library, library.number_of(one.line.path.c_str()), ""};
  if (one.line.kind == "conv") Convolution(one, check).run();
  else if (one.line.kind == "attend") Attention(one, check).run();
  else if (one.line.kind == "moments") run_moments(one.line, check);
  else throw std::runtime_error("no such kind of case: " + one.line.kind);
  return check.difference;
}

int main(int count, char** arguments) {
  if (count != 2 && count != 3) return fprintf(stderr, "usage: harness LIBRARY [CASES]\n"), 2;
  setvbuf(stdout, nullptr, _IOLBF, 0);  // so that a library that ends the process loses no line
  const Library library(arguments[1]);
  if (count == 2) return print_paths(library), 0;
  const std::vector<Case> cases = read_cases(arguments[2]);
  int64_t wrong = 0;
  for (const Case& one : cases) {
    const std::string what = difference(library, one);
    if (what.empty()) continue;
    printf("WRONG: %s: %s\n", what.c_str(), one.line.text.c_str());
    wrong++;
  }
  printf("%zu cases, %lld wrong\n", cases.size(), (long long)wrong);
  return wrong > 0 || cases.empty();
}
