// Eight channels of a row for each thread: how a block of threads is laid over rows and channels.
#pragma once
#include "stored.cuh"

constexpr u32 THREADS = 256;

// Its mirror in Rust is `rows::Layout`.
struct Layout {
    u32 n_rows;
    u32 across_bits; // a block has 2^across_bits groups of 8 channels; the grid's y are blocks beside each other
};

struct Place {
    u32 row, channel;
    bool is_there;
};

DEVICE Place place(const Layout& it, u32 c) {
    u32 down = threadIdx.x >> it.across_bits, across = threadIdx.x - (down << it.across_bits);
    Place at;
    at.row = blockIdx.x * (THREADS >> it.across_bits) + down;
    at.channel = ((blockIdx.y << it.across_bits) + across) * 8;
    at.is_there = at.row < it.n_rows && at.channel < c;
    return at;
}
