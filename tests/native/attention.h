// A case of the attention: queries ask blocks of keys and values, one after another.
#pragma once

#include "case.h"
#include "check.h"

class Attention {
 public:
  Attention(const Case& one, Check& with) : c(one.line), calls(one.calls), check(with) {
    std::mt19937_64 generator(c["seed"]);
    query = Numbers::random(F32, c["queries"] * c["channels"], generator);
    for (const Line& call : calls) blocks.push_back(Numbers::random(c["type"], call["keys"] * 2 * c["channels"], generator));
    if (c["nan"]) blocks[generator() % blocks.size()].set(generator() % c["channels"], NAN);  // of a key
  }

  void run() {
    const int64_t queries = c["queries"], channels = c["channels"];
    const Numbers zeros(F32, queries * channels);
    Memory top(queries * 4), weight(queries * 4, 0), total(queries * channels * 4, 0);
    for (int64_t i = 0; i < queries; i++) encode(F32, -INFINITY, top.data() + 4 * i);
    for (size_t i = 0; i < calls.size(); i++) ask(blocks[i], calls[i], top, weight, total);
    compare(weight, total);
  }

 private:
  const Line& c;
  const std::vector<Line>& calls;
  Check& check;
  Numbers query{F32, 0};
  std::vector<Numbers> blocks;

  void ask(const Numbers& block, const Line& call, Memory& top, Memory& weight, Memory& total) {
    Memory packed(call["packed"]), scratch(call["scratches"] * call["scratch"]);
    std::vector<int64_t> sums(call["parts"], 1);
    const Attend attend{c["type"], c["queries"], call["keys"], c["channels"], scale(), (const float*)query.memory.data(),
                        block.memory.data(), (float*)top.data(), (float*)weight.data(), (float*)total.data(), sums.data(),
                        packed.data(), scratch.data(), call["scratch"], call["threads"]};
    check.library.attend(check.path, &attend);
    check.fenced("packed keys", packed);
    check.fenced("scratch", scratch);
    for (const Memory* memory : {&top, &weight, &total}) check.fenced("sums", *memory);
    check.sums("sums", sums, {&top, &weight, &total}, F32);
  }

  float scale() const { return 1 / sqrtf(c["channels"]); }

  void compare(const Memory& weight, const Memory& total) {
    const int64_t channels = c["channels"];
    const double unit = 0x1p-23 * (2 * channels + 8) + ldexp(1, -c["digits"]);
    for (int64_t q = 0; q < c["queries"]; q++) {
      std::vector<double> scores, sum(channels), size(channels);
      double most = -INFINITY, largest = 0, all = 0, summed = 0x1p-23;
      for (const Numbers& block : blocks)
        for (size_t key = 0; key < block.wide.size(); key += 2 * channels) {
          double score = 0, magnitude = 0;
          for (int64_t i = 0; i < channels; i++) {
            const double term = query.wide[q * channels + i] * block.wide[key + i] * scale();
            score += term, magnitude += fabs(term);
          }
          scores.push_back(score), most = fmax(most, score), largest = fmax(largest, magnitude), summed += 0x1p-23;
        }
      const double* score = scores.data();
      for (const Numbers& block : blocks)
        for (size_t key = 0; key < block.wide.size(); key += 2 * channels) {
          const double chance = exp(*score++ - most);
          all += chance;
          for (int64_t i = 0; i < channels; i++) {
            const double term = chance * block.wide[key + channels + i];
            sum[i] += term, size[i] += fabs(term);
          }
        }
      const double weighed = decoded(F32, weight.data() + 4 * q);
      for (int64_t i = 0; i < channels; i++) {
        // An error of a score changes its key's share by that factor, in the sum and in what it is divided by.
        const double slack = 3 * (unit * (1 + largest) + summed) * size[i] / all;
        check.near("attended", q * channels + i, decoded(F32, total.data() + 4 * (q * channels + i)) / weighed, c["nan"] ? NAN : sum[i] / all, slack);
      }
    }
  }
};
