// What the kernels of the depthwise convolution share: their parameters, and tiles of 32 channels in shared memory.
//
// A lane of a warp has one channel, so that shared memory is read without conflicts and a tap is one multiplication
// and addition of 32 channels. A block has one tile of positions of an image after the other, and a warp strips of it.
// While a tile is computed, the next one is copied to shared memory as it is stored, asynchronously; then each number
// is converted to f32, through its deferred steps, once.
#pragma once
#include "stored.cuh"

// The most warps of a block.
constexpr u32 MOST_WARPS = 8;

// The geometry of a convolution, and how it is cut into tiles. Its mirror in Rust is `depthwise::Geometry`.
struct Geometry {
    u32 n, h, w, oh, ow;
    u32 kernel_h, kernel_w, stride;
    u32 top, left;         // zeros above and to the left
    u32 tile_h, tile_w;    // positions
    u32 tiles_y, tiles_x;  // tiles of an image
    u32 n_groups;          // blocks of 32 channels
    u32 n_parts;           // blocks that share all tiles
};

struct Tile { u32 image, y, x; };

DEVICE Tile tile_of(u32 index, const Geometry& of) {
    u32 row = index / of.tiles_x;
    return {row / of.tiles_y, row % of.tiles_y * of.tile_h, index % of.tiles_x * of.tile_w};
}

// Copies the 32 channels of each tap to shared memory as f32, with zeros beyond the last channel.
DEVICE void copy_taps(const void* __restrict__ weight, float* taps, u32 n, u32 channel, const Kind& kind) {
    for (u32 i = threadIdx.x; i < n * 32; i += blockDim.x) {
        u32 at = channel + i % 32;
        taps[i] = at < kind.c ? read1(weight, u64(i / 32) * kind.c + at, kind.storage) : 0.0f;
    }
}

// What a lane keeps of the prologue of its channel, in an image.
struct PrologueLane { float scale, shift, center, gate; };
struct GradLane { float scale, shift, slope, center, at_mean, times, plus; };

DEVICE float number_of(const float* from, u32 channel, float otherwise) { return from ? from[channel] : otherwise; }
DEVICE float number_of(const void* from, u32 image, u32 channel, const Kind& kind, float otherwise) {
    return from ? read1(from, u64(image) * kind.c + channel, kind.storage) : otherwise;
}

DEVICE PrologueLane lane_of(const Prologue& prologue, u32 image, u32 channel, const Kind& kind) {
    if (channel >= kind.c) return {0.0f, 0.0f, 0.0f, 0.0f};
    return {number_of(prologue.scale, channel, 1.0f), number_of(prologue.shift, channel, 0.0f),
            number_of(prologue.center, channel, 0.0f), number_of(prologue.gate, image, channel, kind, 1.0f)};
}
DEVICE GradLane lane_of(const GradPrologue& prologue, u32 image, u32 channel, const Kind& kind) {
    if (channel >= kind.c) return {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    return {number_of(prologue.scale, channel, 1.0f),  number_of(prologue.shift, channel, 0.0f),
            number_of(prologue.slope, channel, 0.0f),  number_of(prologue.center, channel, 0.0f),
            number_of(prologue.at_mean, channel, 0.0f), number_of(prologue.times, image, channel, kind, 1.0f),
            number_of(prologue.plus, image, channel, kind, 0.0f)};
}

// A rectangle of positions of a map of one image, which may reach beyond the map.
struct Window {
    u32 rows, cols;
    int y, x;
    u32 h, w, image;

    // A position of the map as a row of the tensor.
    DEVICE u32 row_of(u32 row, u32 col) const { return (image * h + u32(y + int(row))) * w + u32(x + int(col)); }
    DEVICE bool has_row(u32 row) const { return u32(y + int(row)) < h; }
    DEVICE bool has_col(u32 col) const { return u32(x + int(col)) < w; }
    DEVICE u32 n() const { return rows * cols; }
};

// Positions that a warp converts at once. The length of a tile in shared memory is a multiple.
constexpr int ABREAST = 4;

DEVICE u32 padded(u32 positions) { return (positions + ABREAST - 1) / ABREAST * ABREAST; }

// Begins to copy 32 channels of a window to shared memory, as they are stored: [position][32].
// - `mask`: where not null, gets 1 for each position of the map, and 0 for those outside.
// - `channel`: the first of the thread's 8.
DEVICE void start_copy(uint4* raw, float* mask, const void* __restrict__ tensor, const Window& window, u32 channel,
                       const Kind& kind) {
    u32 width = kind.storage == F32 ? 2 : 1;
    for (u32 at = threadIdx.x / 4; at < padded(window.n()); at += blockDim.x / 4) {
        u32 row = at / window.cols, col = at % window.cols;
        bool is_on_map = row < window.rows && window.has_row(row) && window.has_col(col);
        bool is_there = is_on_map && channel < kind.c;
        u64 bytes = is_there ? (u64(window.row_of(row, col)) * kind.c + channel) * width * 2 : 0;
        const char* from = static_cast<const char*>(tensor) + bytes;
        uint4* to = raw + (at * 4 + threadIdx.x % 4) * width;
        copy_async(to, from, is_there);
        if (width == 2) copy_async(to + 1, is_there ? from + 16 : from, is_there);
        if (mask && threadIdx.x % 4 == 0) mask[at] = is_on_map ? 1.0f : 0.0f;
    }
}

// 16-byte words of the copy of as many positions.
DEVICE u32 raw_length(u32 positions, const Kind& kind) { return padded(positions) * (kind.storage == F32 ? 8 : 4); }

// The lane's numbers of ABREAST positions of a copy.
DEVICE void read_few(const uint4* raw, u32 at, float (&x)[ABREAST], u32 storage) {
    u32 first = at * 32 + threadIdx.x % 32;
    if (storage == F32) {
        const float* from = reinterpret_cast<const float*>(raw) + first;
#pragma unroll
        for (int i = 0; i < ABREAST; ++i) x[i] = from[i * 32];
        return;
    }
    const u16* from = reinterpret_cast<const u16*>(raw) + first;
#pragma unroll
    for (int i = 0; i < ABREAST; ++i) x[i] = __uint_as_float(from[i * 32]);
#pragma unroll
    for (int i = 0; i < ABREAST; ++i) {
        u16 bits = u16(__float_as_uint(x[i]));
        x[i] = storage == BF16 ? to_float(bf16{bits}) : to_float(f16{bits});
    }
}

// Writes ABREAST numbers to a tile of f32, with zeros outside of the map.
DEVICE void store_few(float* tile, const float* mask, u32 at, const float (&x)[ABREAST]) {
    float4 by = *reinterpret_cast<const float4*>(mask + at);
    float* to = tile + at * 32 + threadIdx.x % 32;
    to[0] = x[0] * by.x;
    to[32] = x[1] * by.y;
    to[64] = x[2] * by.z;
    to[96] = x[3] * by.w;
}

// Converts a copy of x to a tile of f32 through its prologue.
DEVICE void convert(float* tile, const uint4* raw, const float* mask, u32 positions, const Prologue& prologue,
                    const PrologueLane& lane, u32 storage) {
    for (u32 at = threadIdx.x / 32 * ABREAST; at < positions; at += blockDim.x / 32 * ABREAST) {
        float x[ABREAST];
        read_few(raw, at, x, storage);
#pragma unroll
        for (int i = 0; i < ABREAST; ++i) x[i] = fmaf(lane.scale, x[i], lane.shift);
        activate_each(prologue.activation, x);
        if (prologue.gate) {
#pragma unroll
            for (int i = 0; i < ABREAST; ++i) x[i] *= lane.gate;
        }
        store_few(tile, mask, at, x);
    }
}

// Converts a copy of a gradient, and of what its norm was applied to if there is one, through its deferred steps.
DEVICE void convert(float* tile, const uint4* raw, const uint4* raw_z, const float* mask, u32 positions,
                    const GradPrologue& prologue, const GradLane& lane, u32 storage) {
    for (u32 at = threadIdx.x / 32 * ABREAST; at < positions; at += blockDim.x / 32 * ABREAST) {
        float d[ABREAST], z[ABREAST], u[ABREAST];
        read_few(raw, at, d, storage);
#pragma unroll
        for (int i = 0; i < ABREAST; ++i) d[i] = fmaf(d[i], lane.times, lane.plus);
        if (prologue.z) {
            read_few(raw_z, at, z, storage);
            if (prologue.activation != NONE) {
#pragma unroll
                for (int i = 0; i < ABREAST; ++i) u[i] = fmaf(lane.scale, z[i], lane.shift);
                slope_each(prologue.activation, u);
#pragma unroll
                for (int i = 0; i < ABREAST; ++i) d[i] *= u[i];
            }
#pragma unroll
            for (int i = 0; i < ABREAST; ++i)
                d[i] = fmaf(lane.scale, d[i], fmaf(lane.slope, z[i] - lane.center, lane.at_mean));
        }
        store_few(tile, mask, at, d);
    }
}

// Stores those numbers that are there, and replaces all by what would be stored.
template <class T>
DEVICE void write_few(void* tensor, const u64 (&places)[ABREAST], float (&x)[ABREAST], const bool (&is_there)[ABREAST]) {
#pragma unroll
    for (int i = 0; i < ABREAST; ++i) {
        T stored = to_stored<T>(x[i]);
        if (is_there[i]) static_cast<T*>(tensor)[places[i]] = stored;
        x[i] = to_float(stored);
    }
}

// Merges the moments of a block's warps, and writes them as a part: [n_parts][2][c], then the counts.
// - `slots`: shared memory that is no longer used, 96 numbers a warp.
DEVICE void write_moments(Moments own, float* slots, float* parts, u32 part, u32 n_parts, u32 channel, u32 c) {
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads();
    Moments* of_warps = reinterpret_cast<Moments*>(slots);
    of_warps[warp * 32 + lane] = own;
    __syncthreads();
    if (warp != 0 || channel >= c) return;
    for (u32 other = 1; other < blockDim.x / 32; ++other) own = merge(own, of_warps[other * 32 + lane]);
    float* to = parts + u64(part) * 2 * c + channel;
    to[0] = own.mean;
    to[c] = own.squares;
    if (channel == 0) parts[u64(n_parts) * 2 * c + part] = own.count;
}

// Adds N numbers of a lane over the warps of a block, and writes them to out[0], out[apart], ….
// - `slots`: shared memory that is no longer used, 32·N numbers a warp.
template <int N>
DEVICE void write_sums(const float (&own)[N], float* slots, float* out, u64 apart, bool has_channel) {
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; ++i) slots[(warp * N + i) * 32 + lane] = own[i];
    __syncthreads();
    if (!has_channel) return;
    for (u32 i = warp; i < N; i += warps) {
        float total = 0.0f;
        for (u32 other = 0; other < warps; ++other) total += slots[(other * N + i) * 32 + lane];
        out[i * apart] = total;
    }
}
