// Cases, as tests/native/cases.py writes them: a line for each, then a line for each of its calls.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// `kind path name=number name=number ...`
struct Line {
  std::string text, kind, path;

  explicit Line(const std::string& whole) : text(whole) {
    std::istringstream words(whole);
    words >> kind >> path;
    for (std::string word; words >> word;) numbers[word.substr(0, word.find('='))] = std::stoll(word.substr(word.find('=') + 1));
  }

  int64_t operator[](const char* name) const {
    const auto found = numbers.find(name);
    if (found == numbers.end()) throw std::runtime_error(std::string("a line has no ") + name + ": " + text);
    return found->second;
  }

 private:
  std::map<std::string, int64_t> numbers;
};

struct Case {
  Line line;
  std::vector<Line> calls;
};

inline std::vector<Case> read_cases(const char* file) {
  std::ifstream stream(file);
  std::vector<Case> cases;
  for (std::string text; std::getline(stream, text);) {
    Line line(text);
    if (line.kind == "call")
      cases.back().calls.push_back(line);
    else
      cases.push_back({line, {}});
  }
  return cases;
}
