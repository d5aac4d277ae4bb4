// Depthwise convolution with any kernel, stride, padding and number of channels: forward and backward.
//
//   y[n, i, j, c] = Σ_{u, v} x[n, i·s + u - top, j·s + v - left, c] · w[u, v, c]
//
// These are the plain loops, for what depthwise.cu does not cover: a lane has one channel, a warp one position at a
// time, and each tap is read from memory, through its deferred steps. A block has a part of all positions.
#include "depthwise.cuh"

// One number of x through its prologue.
DEVICE float read(const void* x, const Prologue& prologue, u32 image, u32 row, u32 channel, const Kind& kind) {
    PrologueLane lane = lane_of(prologue, image, channel, kind);
    float z = read1(x, u64(row) * kind.c + channel, kind.storage);
    return activate(prologue.activation, fmaf(lane.scale, z, lane.shift)) * lane.gate;
}

// One number of the gradient through its deferred steps.
DEVICE float read(const void* g, const GradPrologue& prologue, u32 image, u32 row, u32 channel, const Kind& kind) {
    GradLane lane = lane_of(prologue, image, channel, kind);
    float d = fmaf(read1(g, u64(row) * kind.c + channel, kind.storage), lane.times, lane.plus);
    if (!prologue.z) return d;
    float z = read1(prologue.z, u64(row) * kind.c + channel, kind.storage);
    if (prologue.activation != NONE) d *= activation_slope(prologue.activation, fmaf(lane.scale, z, lane.shift));
    return fmaf(lane.scale, d, fmaf(lane.slope, z - lane.center, lane.at_mean));
}

// The positions of a block: `n` of them in all, in `n_parts` parts.
struct Range { u32 first, end; };

DEVICE Range range_of(u32 part, u32 n_parts, u32 n) {
    u32 each = (n + n_parts - 1) / n_parts, first = min(part * each, n);
    return {first, min(first + each, n)};
}

// - `bias`: [c], or null.
// - `parts`: where not null the moments of y as it is stored, [n_parts][2][c] and the counts.
extern "C" __global__ void __launch_bounds__(MOST_WARPS * 32, 4)
depthwise_any(const void* __restrict__ x, Prologue prologue, const void* __restrict__ weight, const float* __restrict__ bias,
              void* __restrict__ y, float* parts, Kind kind, Geometry of) {
    __shared__ float slots[MOST_WARPS * 96];
    u32 part = blockIdx.x / of.n_groups, channel = blockIdx.x % of.n_groups * 32 + threadIdx.x % 32;
    Range range = range_of(part, of.n_parts, of.n * of.oh * of.ow);
    Moments own = {0.0f, 0.0f, 0.0f};
    if (channel < kind.c) {
        for (u32 row = range.first + threadIdx.x / 32; row < range.end; row += MOST_WARPS) {
            u32 image = row / (of.oh * of.ow), oy = row / of.ow % of.oh, ox = row % of.ow;
            float total = number_of(bias, channel, 0.0f);
            for (u32 u = 0; u < of.kernel_h; ++u) {
                u32 iy = oy * of.stride + u - of.top;
                if (iy >= of.h) continue;
                for (u32 v = 0; v < of.kernel_w; ++v) {
                    u32 ix = ox * of.stride + v - of.left;
                    if (ix >= of.w) continue;
                    float tap = read1(weight, u64(u * of.kernel_w + v) * kind.c + channel, kind.storage);
                    total = fmaf(read(x, prologue, image, (image * of.h + iy) * of.w + ix, channel, kind), tap, total);
                }
            }
            write1(y, u64(row) * kind.c + channel, kind.storage, total);
            total = round1(total, kind.storage);
            own = merge(own, Moments{1.0f, total, 0.0f});
        }
    }
    if (parts) write_moments(own, slots, parts, part, of.n_parts, channel, kind.c);
}

// The gradient of x; see `backward` in depthwise.cu.
extern "C" __global__ void __launch_bounds__(MOST_WARPS * 32, 4)
depthwise_any_input(const void* __restrict__ x, Prologue prologue, const void* __restrict__ g, GradPrologue grad,
                    const void* __restrict__ weight, void* __restrict__ dx, float* parts, Kind kind, Geometry of) {
    __shared__ float slots[MOST_WARPS * 64];
    u32 part = blockIdx.x / of.n_groups, channel = blockIdx.x % of.n_groups * 32 + threadIdx.x % 32;
    Range range = range_of(part, of.n_parts, of.n * of.h * of.w);
    float sums[2] = {0.0f, 0.0f};
    if (channel < kind.c) {
        for (u32 row = range.first + threadIdx.x / 32; row < range.end; row += MOST_WARPS) {
            u32 image = row / (of.h * of.w), iy = row / of.w % of.h, ix = row % of.w;
            float d = 0.0f;
            for (u32 u = 0; u < of.kernel_h; ++u) {
                u32 down = iy + of.top - u, oy = down / of.stride;
                if (iy + of.top < u || down % of.stride != 0 || oy >= of.oh) continue;
                for (u32 v = 0; v < of.kernel_w; ++v) {
                    u32 across = ix + of.left - v, ox = across / of.stride;
                    if (ix + of.left < v || across % of.stride != 0 || ox >= of.ow) continue;
                    float tap = read1(weight, u64(u * of.kernel_w + v) * kind.c + channel, kind.storage);
                    u32 from = (image * of.oh + oy) * of.ow + ox;
                    d = fmaf(read(g, grad, image, from, channel, kind), tap, d);
                }
            }
            u64 at = u64(row) * kind.c + channel;
            PrologueLane lane = lane_of(prologue, image, channel, kind);
            float z = read1(x, at, kind.storage);
            if (!prologue.gate && prologue.activation != NONE)
                d *= activation_slope(prologue.activation, fmaf(lane.scale, z, lane.shift));
            write1(dx, at, kind.storage, d);
            d = round1(d, kind.storage);
            sums[0] += d;
            sums[1] = fmaf(d, z - lane.center, sums[1]);
        }
    }
    if (parts) write_sums<2>(sums, slots, parts + u64(part) * 2 * kind.c + channel, kind.c, channel < kind.c);
}

// The gradient of the weights: parts [n_parts][kernel_h·kernel_w][c]. A block has one tap of a part.
extern "C" __global__ void __launch_bounds__(MOST_WARPS * 32, 4)
depthwise_any_weight(const void* __restrict__ x, Prologue prologue, const void* __restrict__ g, GradPrologue grad, float* d_weights,
                     Kind kind, Geometry of) {
    __shared__ float slots[MOST_WARPS * 32];
    u32 n_taps = of.kernel_h * of.kernel_w, index = blockIdx.x / of.n_groups;
    u32 channel = blockIdx.x % of.n_groups * 32 + threadIdx.x % 32;
    u32 tap = index % n_taps, part = index / n_taps, u = tap / of.kernel_w, v = tap % of.kernel_w;
    Range range = range_of(part, of.n_parts, of.n * of.oh * of.ow);
    float sums[1] = {0.0f};
    if (channel < kind.c) {
        for (u32 row = range.first + threadIdx.x / 32; row < range.end; row += MOST_WARPS) {
            u32 image = row / (of.oh * of.ow), oy = row / of.ow % of.oh, ox = row % of.ow;
            u32 iy = oy * of.stride + u - of.top, ix = ox * of.stride + v - of.left;
            if (iy >= of.h || ix >= of.w) continue;
            float d = read(g, grad, image, row, channel, kind);
            sums[0] = fmaf(read(x, prologue, image, (image * of.h + iy) * of.w + ix, channel, kind), d, sums[0]);
        }
    }
    write_sums<1>(sums, slots, d_weights + u64(index) * kind.c + channel, 1, channel < kind.c);
}
