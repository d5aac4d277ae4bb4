// L2 normalisation of rows to a given length: y = length·x / max(‖x‖, ε), dx = length·(g - x·(x·g) / ‖x‖²) / ‖x‖.
//
// Twin of `ops::l2_normalise`: the gradient of a row shorter than ε is 0, not g / ε as in PyTorch. Sums are in f64, so
// that squares of small numbers do not underflow. A warp has a row.
#include "rows.cuh"

constexpr u32 WARPS = THREADS / 32;
constexpr double EPS = 1e-12;

DEVICE double warp_sum(double x) {
#pragma unroll
    for (int apart = 16; apart; apart /= 2) {
        u64 bits = u64(__double_as_longlong(x));
        u32 low = __shfl_xor_sync(0xffffffffu, u32(bits), apart);
        u32 high = __shfl_xor_sync(0xffffffffu, u32(bits >> 32), apart);
        x += __longlong_as_double(i64(u64(high) << 32 | low));
    }
    return x;
}
// The part of x·y of this lane.
DEVICE double dot8(const Eight& x, const Eight& y) {
    double sum = 0.0;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += double(x.x[i]) * double(y.x[i]);
    return sum;
}

// - `x`, `y`: [n_rows, c].
extern "C" __global__ void __launch_bounds__(THREADS)
l2_normalise(const void* x, void* y, float length, Kind kind, u32 n_rows) {
    u32 row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n_rows) return;
    double squares = 0.0;
    for (u32 channel = threadIdx.x % 32 * 8; channel < kind.c; channel += 256) {
        Eight v = read8(x, row, channel, kind);
        squares += dot8(v, v);
    }
    double norm = sqrt(warp_sum(squares));
    float scale = float(double(length) / (norm > EPS ? norm : EPS));
    for (u32 channel = threadIdx.x % 32 * 8; channel < kind.c; channel += 256)
        write8(y, row, channel, kind, narrow(times8(read8(x, row, channel, kind), all(scale)), kind));
}

// - `x`, `g`, `dx`: [n_rows, c].
extern "C" __global__ void __launch_bounds__(THREADS)
l2_normalise_backward(const void* x, const void* g, void* dx, float length, Kind kind, u32 n_rows) {
    u32 row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n_rows) return;
    double squares = 0.0, dot = 0.0;
    for (u32 channel = threadIdx.x % 32 * 8; channel < kind.c; channel += 256) {
        Eight v = read8(x, row, channel, kind);
        squares += dot8(v, v);
        dot += dot8(v, read8(g, row, channel, kind));
    }
    squares = warp_sum(squares);
    dot = warp_sum(dot);
    double norm = sqrt(squares);
    bool has_direction = norm > EPS;
    float scale = has_direction ? float(double(length) / norm) : 0.0f;
    float along = has_direction ? float(dot / squares) : 0.0f;
    for (u32 channel = threadIdx.x % 32 * 8; channel < kind.c; channel += 256) {
        Eight v = read8(x, row, channel, kind), d = read8(g, row, channel, kind);
#pragma unroll
        for (int i = 0; i < 8; ++i) d.x[i] = scale * (d.x[i] - v.x[i] * along);
        write8(dx, row, channel, kind, narrow(has_direction ? d : all(0.0f), kind));
    }
}
