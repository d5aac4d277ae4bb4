// Layer norm: each row of channels is normalised by its own mean and variance.
//
// y = γ (x - μ)·r + β with r = 1 / √(σ² + ε), the mean μ and the biased variance σ² of the row. With x̂ = (x - μ)·r:
// dx = (gγ - mean(gγ) - x̂·mean(gγ·x̂))·r, dγ = Σ g·x̂, dβ = Σ g. Ba et al., "Layer Normalization", 2016,
// <https://arxiv.org/abs/1607.06450>. Twin of `ops::layer_norm`.
//
// A row has a warp, or half or a quarter of one where it is short. The variance is of the differences from the mean.
// Rows of up to 1024 channels, if they are a multiple of 8, are kept in registers, and dγ and dβ are summed in the same
// pass as dx; other rows are read again, from the cache. The sums of threads are added by block, and those of blocks by
// a second kernel, always in the same order.
#include "stored.cuh"

constexpr u32 THREADS = 256;

// How rows are laid over threads. Its mirror in Rust is `layer_norm::Rows`.
struct Rows {
    u32 n;
    u32 lane_bits; // a row has 2^lane_bits threads: 8, 16 or 32
    u32 per_block; // rows that a block goes through: in the forward pass as many as fit
};

DEVICE float sum8(const Eight& v) {
    return ((v.x[0] + v.x[1]) + (v.x[2] + v.x[3])) + ((v.x[4] + v.x[5]) + (v.x[6] + v.x[7]));
}
// The sum over the threads of a row, in each of them. All threads of the warp call it.
DEVICE float row_sum(float x, u32 n_lanes) {
#pragma unroll
    for (u32 apart = 16; apart; apart /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, x, apart);
        x += apart < 8 || apart < n_lanes ? other : 0.0f;
    }
    return x;
}

struct Stats { float mean, inverse; };

DEVICE void write_stats(float* stats, u32 row, const Stats& it) {
    stats[2 * u64(row)] = it.mean;
    stats[2 * u64(row) + 1] = it.inverse;
}
// x̂.
DEVICE Eight hat8(const Eight& x, const Stats& stats) {
    Eight v;
#pragma unroll
    for (int i = 0; i < 8; ++i) v.x[i] = (x.x[i] - stats.mean) * stats.inverse;
    return v;
}
DEVICE float squares8(const Eight& v, float mean, int n) {
    Eight apart;
#pragma unroll
    for (int i = 0; i < 8; ++i) apart.x[i] = i < n ? (v.x[i] - mean) * (v.x[i] - mean) : 0.0f;
    return sum8(apart);
}

// Rows of at most K·256 channels, a multiple of 8. Eight k of a thread begins with channel (k·n_lanes + lane)·8.
// - `x`, `y`: [rows.n, c]; `gamma`, `beta`: [c]; `stats`: [rows.n][2], μ and r.
template <int K>
DEVICE void forward(const void* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
                    float eps, void* __restrict__ y, float* __restrict__ stats, const WholeKind& kind,
                    const Rows& rows) {
    u32 bits = K == 1 ? rows.lane_bits : 5, n_lanes = 1 << bits, lane = threadIdx.x & (n_lanes - 1);
    u32 row = blockIdx.x * (THREADS >> bits) + (threadIdx.x >> bits);
    // Threads without a row have no channels, and stay with the others of their warp.
    u32 c = row < rows.n ? kind.c : 0;
    float share = 1.0f / float(kind.c), sum = 0.0f, squares = 0.0f;
    Eight v[K];
#pragma unroll
    for (int k = 0; k < K; ++k) {
        u32 channel = (k * n_lanes + lane) * 8;
        v[k] = channel < c ? read8(x, row, channel, kind) : all(0.0f);
    }
#pragma unroll
    for (int k = 0; k < K; ++k) sum += sum8(v[k]);
    Stats it = {row_sum(sum, n_lanes) * share, 0.0f};
#pragma unroll
    for (int k = 0; k < K; ++k)
        if ((k * n_lanes + lane) * 8 < c) squares += squares8(v[k], it.mean, 8);
    it.inverse = 1.0f / sqrtf(row_sum(squares, n_lanes) * share + eps);
#pragma unroll
    for (int k = 0; k < K; ++k) {
        u32 channel = (k * n_lanes + lane) * 8;
        if (channel >= c) continue;
        Line8 line = {load8<float>(gamma + channel), load8<float>(beta + channel)};
        write8(y, row, channel, kind, narrow(on_line(line, hat8(v[k], it)), kind));
    }
    if (c != 0 && lane == 0) write_stats(stats, row, it);
}

#define FORWARD(K)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                       \
    layer_norm_##K(const void* x, const float* gamma, const float* beta, float eps, void* y, float* stats,      \
                   WholeKind kind, Rows rows) {                                                                 \
        forward<K>(x, gamma, beta, eps, y, stats, kind, rows);                                                  \
    }
FORWARD(1)
FORWARD(2)
FORWARD(3)
FORWARD(4)

// Any rows, a warp for each.
extern "C" __global__ void __launch_bounds__(THREADS)
layer_norm(const void* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta, float eps,
           void* __restrict__ y, float* __restrict__ stats, Kind kind, Rows rows) {
    u32 lane = threadIdx.x % 32, row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (row >= rows.n) return;
    float share = 1.0f / float(kind.c);
    Stats it = {0.0f, 0.0f};
#pragma unroll 1
    for (int pass = 0; pass < 3; ++pass) {
        float sum = 0.0f;
        for (u32 channel = lane * 8; channel < kind.c; channel += 256) {
            Eight v = read8(x, row, channel, kind);
            if (pass == 0) sum += sum8(v); // Beyond the last channel they are 0.
            else if (pass == 1) sum += squares8(v, it.mean, int(kind.c - channel));
            else
                write8(y, row, channel, kind,
                       narrow(on_line(line_of(gamma, beta, channel, kind), hat8(v, it)), kind));
        }
        if (pass == 2) break;
        sum = row_sum(sum, 32) * share;
        if (pass == 0) it.mean = sum;
        else it.inverse = 1.0f / sqrtf(sum + eps);
    }
    if (lane == 0) write_stats(stats, row, it);
}

// What the backward pass is given.
struct Backward {
    const void* x;      // [rows.n, c]
    const void* g;      // [rows.n, c]
    const float* gamma; // [c]
    const float* stats; // [rows.n][2]: μ and r
    void* dx;           // [rows.n, c]
    float* parts;       // [n_parts][2][c]: sums of g·x̂ and of g
};

DEVICE Stats stats_of(const Backward& it, u32 row) { return {it.stats[2 * u64(row)], it.stats[2 * u64(row) + 1]}; }
// (h - plain - x̂·hat)·r with h = g·γ and the means of h and of h·x̂.
DEVICE Eight back8(const Eight& h, const Eight& hats, float plain, float hat, float inverse) {
    Eight v;
#pragma unroll
    for (int i = 0; i < 8; ++i) v.x[i] = (h.x[i] - plain - hats.x[i] * hat) * inverse;
    return v;
}
DEVICE void add_sums(Eight (&sums)[2], const Eight& g, const Eight& hats) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        sums[0].x[i] = fmaf(g.x[i], hats.x[i], sums[0].x[i]);
        sums[1].x[i] += g.x[i];
    }
}

// Writes a part: the sums of n_lanes·8 channels from `first`, of which each thread has eight; threads of the same
// channels are added in order.
// - `shared`: THREADS·8 numbers.
DEVICE void write_part(const Eight (&sums)[2], float* part, u32 first, u32 c, u32 n_lanes, float* shared) {
    u32 lane = threadIdx.x % n_lanes, i_own = threadIdx.x / n_lanes, channel = first + lane * 8 + i_own;
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 8; ++i) shared[i * THREADS + threadIdx.x] = sums[which].x[i];
        __syncthreads();
        if (i_own >= 8 || channel >= c) continue;
        float sum = 0.0f;
        for (u32 at = lane; at < THREADS; at += n_lanes) sum += shared[i_own * THREADS + at];
        part[which * c + channel] = sum;
    }
}

// Rows of at most K·256 channels, a multiple of 8: dx and the parts in one pass.
template <int K> DEVICE void backward(const Backward& it, const WholeKind& kind, const Rows& rows, float* shared) {
    Eight sums[K][2];
#pragma unroll
    for (int k = 0; k < K; ++k) sums[k][0] = sums[k][1] = all(0.0f);
    float share = 1.0f / float(kind.c);
    u32 bits = K == 1 ? rows.lane_bits : 5, n_lanes = 1 << bits, n_down = THREADS >> bits;
    u32 lane = threadIdx.x & (n_lanes - 1);
    u32 begin = blockIdx.x * rows.per_block, end = min(begin + rows.per_block, rows.n);
    // Where there are registers left, γ is read once.
    constexpr bool KEEPS = K <= 2;
    Eight gamma[KEEPS ? K : 1];
    if (KEEPS) {
#pragma unroll
        for (int k = 0; k < K; ++k) gamma[KEEPS ? k : 0] = channels_of(it.gamma, (k * n_lanes + lane) * 8, kind, 0.0f);
    }
    // Threads beyond the last row stay with the others of their warp.
    for (u32 first = begin; first < end; first += n_down) {
        u32 row = first + (threadIdx.x >> bits), c = row < end ? kind.c : 0;
        Eight x[K], g[K];
#pragma unroll
        for (int k = 0; k < K; ++k) {
            u32 channel = (k * n_lanes + lane) * 8;
            x[k] = channel < c ? read8(it.x, row, channel, kind) : all(0.0f);
            g[k] = channel < c ? read8(it.g, row, channel, kind) : all(0.0f);
        }
        Stats stats = c ? stats_of(it, row) : Stats{0.0f, 0.0f};
        float plain = 0.0f, hat = 0.0f;
#pragma unroll
        for (int k = 0; k < K; ++k) {
            u32 channel = (k * n_lanes + lane) * 8;
            if (channel >= c) continue;
            x[k] = hat8(x[k], stats);
            add_sums(sums[k], g[k], x[k]);
            g[k] = times8(g[k], KEEPS ? gamma[KEEPS ? k : 0] : load8<float>(it.gamma + channel));
            plain += sum8(g[k]);
            hat += sum8(times8(g[k], x[k]));
        }
        plain = row_sum(plain, n_lanes) * share;
        hat = row_sum(hat, n_lanes) * share;
#pragma unroll
        for (int k = 0; k < K; ++k) {
            u32 channel = (k * n_lanes + lane) * 8;
            if (channel >= c) continue;
            write8(it.dx, row, channel, kind, narrow(back8(g[k], x[k], plain, hat, stats.inverse), kind));
        }
    }
    float* part = it.parts + u64(blockIdx.x) * 2 * kind.c;
#pragma unroll
    for (int k = 0; k < K; ++k) write_part(sums[k], part, k * n_lanes * 8, kind.c, n_lanes, shared);
}

// With so many blocks of a multiprocessor, whose registers they share.
#define BACKWARD(K, BLOCKS)                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                          \
    layer_norm_backward_##K(Backward it, WholeKind kind, Rows rows) {                      \
        __shared__ float shared[THREADS * 8];                                              \
        backward<K>(it, kind, rows, shared);                                               \
    }
BACKWARD(1, 3)
BACKWARD(2, 2)
BACKWARD(3, 2)
BACKWARD(4, 1)

// Any rows: dx alone.
extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_backward(Backward it, Kind kind, Rows rows) {
    u32 lane = threadIdx.x % 32, row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (row >= rows.n) return;
    Stats stats = stats_of(it, row);
    float plain = 0.0f, hat = 0.0f;
#pragma unroll 1
    for (int pass = 0; pass < 2; ++pass) {
        float of_plain = 0.0f, of_hat = 0.0f;
        for (u32 channel = lane * 8; channel < kind.c; channel += 256) {
            // The gradient beyond the last channel is 0.
            Eight hats = hat8(read8(it.x, row, channel, kind), stats);
            Eight h = times8(read8(it.g, row, channel, kind), channels_of(it.gamma, channel, kind, 0.0f));
            if (pass == 1) write8(it.dx, row, channel, kind, narrow(back8(h, hats, plain, hat, stats.inverse), kind));
            of_plain += sum8(h);
            of_hat += sum8(times8(h, hats));
        }
        plain = row_sum(of_plain, 32) / float(kind.c);
        hat = row_sum(of_hat, 32) / float(kind.c);
    }
}

// Any rows: the parts. A block has 256 channels, a thread eight of them and every 8th of the block's rows.
extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_backward_columns(Backward it, Kind kind, Rows rows) {
    __shared__ float shared[THREADS * 8];
    u32 n_across = (kind.c + 255) / 256, block = blockIdx.x / n_across, first = blockIdx.x % n_across * 256;
    u32 channel = first + threadIdx.x % 32 * 8, end = min((block + 1) * rows.per_block, rows.n);
    Eight sums[2] = {all(0.0f), all(0.0f)};
    if (channel < kind.c) {
        for (u32 row = block * rows.per_block + threadIdx.x / 32; row < end; row += THREADS / 32) {
            Eight hats = hat8(read8(it.x, row, channel, kind), stats_of(it, row));
            add_sums(sums, read8(it.g, row, channel, kind), hats);
        }
    }
    write_part(sums, it.parts + u64(block) * 2 * kind.c, first, kind.c, 32, shared);
}

// Adds the parts of all blocks: `parts` is [n_parts][n], `sums` [n]. A block has 32 columns; a warp has every 8th part.
extern "C" __global__ void __launch_bounds__(THREADS) add_parts(const float* parts, float* sums, u32 n_parts, u32 n) {
    __shared__ float shared[THREADS];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (column < n)
        for (u32 part = warp; part < n_parts; part += THREADS / 32) sum += parts[u64(part) * n + column];
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (warp != 0 || column >= n) return;
    for (u32 w = 1; w < THREADS / 32; ++w) sum += shared[w * 32 + lane];
    sums[column] = sum;
}
