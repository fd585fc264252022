// One path. setup.py builds this file once for each kind of CPU, with its own flags and ZVAE_PATH.
#include "attend.h"
#include "conv.h"
#include "moments.h"
#include "pack.h"
#include "peak.h"
#include "readback.h"

#define QUOTED(name) #name
#define TEXT(name) QUOTED(name)
#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

extern "C" const Path NAMED(zvae_path_, ZVAE_PATH);
extern "C" const Path NAMED(zvae_path_, ZVAE_PATH) = {
    TEXT(ZVAE_PATH), PIXELS, OUTPUTS, LANES, DEPTH, sizeof(Number),
    TILE_ROWS, ASKED, ROWS, PANEL, SOFTMAX_KEYS, SMALL, BLOCKS,
    convolve, pack_weights, attend_block, gather_moments, read_back, multiply_registers,
};
