// Dropout: y = x·kept where the mask's bit is 1, otherwise 0, and the gradient alike.
//
// Twin of `ops::dropout`. The host makes the mask from its named streams.
#include "stored.cuh"

constexpr u32 THREADS = 256;

// A thread has eight numbers, of which the last has fewer, and so a byte of the mask.
// - `x`, `y`: [n]; `mask`: bit i % 8 of byte i / 8 is 1 where number i is kept.
extern "C" __global__ void __launch_bounds__(THREADS)
dropout(const void* __restrict__ x, const unsigned char* __restrict__ mask, float kept, void* __restrict__ y,
        u32 storage, u64 n) {
    u64 eight = u64(blockIdx.x) * THREADS + threadIdx.x, at = eight * 8;
    if (at >= n) return;
    u32 bits = mask[eight];
    if (n - at >= 8) {
        WholeKind kind = {{storage, 8}};
        Eight v = read8(x, eight, 0, kind);
#pragma unroll
        for (int i = 0; i < 8; ++i) v.x[i] = bits >> i & 1 ? v.x[i] * kept : 0.0f;
        write8(y, eight, 0, kind, narrow(v, kind));
    } else {
        for (; at < n; ++at, bits >>= 1) write1(y, at, storage, bits & 1 ? read1(x, at, storage) * kept : 0.0f);
    }
}
