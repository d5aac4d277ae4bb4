// Numbers in another storage, and one number everywhere.
#include "stored.cuh"

constexpr u32 THREADS = 256;

// to = from, or from·(*times) where that is given: how the gradient of the loss gets the loss scale, which only the
// device knows. A thread has eight numbers, of which the last has fewer.
// - `from`, `to`: [n].
extern "C" __global__ void __launch_bounds__(THREADS)
cast(const void* __restrict__ from, u32 from_storage, void* __restrict__ to, u32 to_storage, const float* times,
     u64 n) {
    u64 eight = u64(blockIdx.x) * THREADS + threadIdx.x, at = eight * 8;
    if (at >= n) return;
    float factor = times ? *times : 1.0f;
    if (n - at >= 8) {
        WholeKind from_kind = {{from_storage, 8}}, to_kind = {{to_storage, 8}};
        Eight v = times8(read8(from, eight, 0, from_kind), all(factor));
        write8(to, eight, 0, to_kind, narrow(v, to_kind));
    } else {
        for (; at < n; ++at) write1(to, at, to_storage, read1(from, at, from_storage) * factor);
    }
}

// to = x everywhere.
extern "C" __global__ void __launch_bounds__(THREADS) fill(void* to, u32 storage, float x, u64 n) {
    u64 eight = u64(blockIdx.x) * THREADS + threadIdx.x, at = eight * 8;
    if (at >= n) return;
    WholeKind kind = {{storage, 8}};
    if (n - at >= 8) write8(to, eight, 0, kind, narrow(all(x), kind));
    else
        for (; at < n; ++at) write1(to, at, storage, x);
}
