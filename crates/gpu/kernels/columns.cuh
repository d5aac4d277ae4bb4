// Sums and moments over the rows of each channel: how threads are laid over rows, and how their parts are merged.
//
// Rows are split into parts, one block each for a group of channels. A thread has 8 neighbouring channels and every
// `n_down`-th row of its part; the threads of a block are merged in a tree, always in the same order, and a second
// kernel merges the parts in theirs, so that the bits are the same at every run.
//
// Moments are the mean and the squares about it, never Σx²: Chan et al., "Updating Formulae and a Pairwise Algorithm
// for Computing Sample Variances", 1979. Counts are f32, which holds those of a part exactly.
#pragma once
#include "stored.cuh"

constexpr int THREADS = 256;

// How rows are split: segments (images, or one of everything) of `n_rows` each, in `n_parts` parts each.
// Its mirror in Rust is `norm::Split`.
struct Split {
    u32 n_rows, rows_per_part, n_parts, n_segments;
    u32 n_across; // groups of 8 channels of a block: a power of two, at most 32
    u32 n_groups; // blocks beside each other that have all channels
};

// What a thread does.
struct Place {
    u32 across, down, n_across, n_down;
    u32 channel; // the first of 8; it may lie beyond the last channel
    bool has_channels;
    u32 part;       // among all parts of all segments
    u32 segment;
    u32 first, end; // rows, among those of all segments
};

DEVICE Place place(const Split& it, u32 c) {
    Place at;
    at.n_across = it.n_across;
    at.n_down = THREADS / it.n_across;
    at.across = threadIdx.x % it.n_across;
    at.down = threadIdx.x / it.n_across;
    at.channel = (blockIdx.x % it.n_groups * it.n_across + at.across) * 8;
    at.has_channels = at.channel < c;
    at.part = blockIdx.x / it.n_groups;
    at.segment = at.part / it.n_parts;
    u32 begin = at.part % it.n_parts * it.rows_per_part;
    u32 end = min(begin + it.rows_per_part, it.n_rows);
    at.first = at.segment * it.n_rows + begin;
    at.end = at.segment * it.n_rows + end;
    return at;
}

// Calls `use(row, words)` for the rows of a thread, each loaded by `load(row)` before its predecessor is used, so that
// loads are under way all the time.
template <class Load, class Use> DEVICE void each_row(const Place& at, Load load, Use use) {
    u32 row = at.first + at.down;
    if (!at.has_channels || row >= at.end) return;
    auto next = load(row);
    while (true) {
        auto now = next;
        u32 here = row;
        row += at.n_down;
        bool is_last = row >= at.end;
        if (!is_last) next = load(row);
        use(here, now);
        if (is_last) return;
    }
}

// The moments of some rows of 8 channels.
struct Moments8 {
    float count;
    Eight mean, squares;
};

DEVICE Moments8 no_moments() { return {0.0f, all(0.0f), all(0.0f)}; }

// Adds a row: Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", 1962.
DEVICE void add_row(Moments8& a, const Eight& x) {
    a.count += 1.0f;
    float share = __fdividef(1.0f, a.count);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float apart = x.x[i] - a.mean.x[i];
        a.mean.x[i] = fmaf(apart, share, a.mean.x[i]);
        a.squares.x[i] = fmaf(apart, x.x[i] - a.mean.x[i], a.squares.x[i]);
    }
}

DEVICE void merge(Moments8& a, float count, const Eight& mean, const Eight& squares) {
    if (count == 0.0f) return;
    float total = a.count + count;
    float share = count / total;
    float weight = a.count * share;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float apart = mean.x[i] - a.mean.x[i];
        a.mean.x[i] = fmaf(apart, share, a.mean.x[i]);
        a.squares.x[i] += fmaf(apart * apart, weight, squares.x[i]);
    }
    a.count = total;
}

// Numbers of shared memory for each thread of the functions below.
constexpr int SLOT = 17;

// The largest power of two below n, or 0.
DEVICE u32 first_half(u32 n) { return n < 2 ? 0 : 1u << (31 - __clz(n - 1)); }

// Merges the moments of the threads with the same channels; the result is in those with `down` 0.
// - `slots`: THREADS * SLOT numbers of shared memory.
DEVICE void merge_block(Moments8& a, float* slots, const Place& at) {
    float* own = slots + threadIdx.x * SLOT;
#pragma unroll 1
    for (u32 half = first_half(at.n_down); half > 0; half /= 2) {
        if (at.down >= half && at.down < 2 * half) {
            own[16] = a.count;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                own[i] = a.mean.x[i];
                own[8 + i] = a.squares.x[i];
            }
        }
        __syncthreads();
        if (at.down < half && at.down + half < at.n_down) {
            const float* other = own + half * at.n_across * SLOT;
            Eight mean, squares;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                mean.x[i] = other[i];
                squares.x[i] = other[8 + i];
            }
            merge(a, other[16], mean, squares);
        }
        __syncthreads();
    }
}

// Writes moments as a part: `parts` is [n_parts][2][c], then the count of each part.
DEVICE void write_part(const Moments8& a, float* parts, const Split& split, const Place& at,
                       u32 c) {
    if (at.down != 0 || !at.has_channels) return;
    float* to = parts + u64(at.part) * 2 * c;
    int n = int(c) - int(at.channel);
    store_some<float>(to + at.channel, a.mean, n);
    store_some<float>(to + c + at.channel, a.squares, n);
    if (at.channel == 0) parts[u64(split.n_parts) * split.n_segments * 2 * c + at.part] = a.count;
}

// Adds N sums of 8 channels over the threads with the same channels; the result is in those with `down` 0.
// - `slots`: THREADS * SLOT numbers of shared memory.
template <int N> DEVICE void sum_block(Eight (&sums)[N], float* slots, const Place& at) {
    float* own = slots + threadIdx.x * SLOT;
#pragma unroll
    for (int kind = 0; kind < N; ++kind) {
#pragma unroll 1
        for (u32 half = first_half(at.n_down); half > 0; half /= 2) {
            if (at.down >= half && at.down < 2 * half) {
#pragma unroll
                for (int i = 0; i < 8; ++i) own[i] = sums[kind].x[i];
            }
            __syncthreads();
            if (at.down < half && at.down + half < at.n_down) {
                const float* other = own + half * at.n_across * SLOT;
#pragma unroll
                for (int i = 0; i < 8; ++i) sums[kind].x[i] += other[i];
            }
            __syncthreads();
        }
    }
}

// Writes sums as a part: `parts` is [n_parts][N][c].
template <int N> DEVICE void write_part(const Eight (&sums)[N], float* parts, const Place& at, u32 c) {
    if (at.down != 0 || !at.has_channels) return;
    float* to = parts + u64(at.part) * N * c + at.channel;
#pragma unroll
    for (int kind = 0; kind < N; ++kind)
        store_some<float>(to + u64(kind) * c, sums[kind], int(c) - int(at.channel));
}

// Adds d and d·(z - center).
DEVICE void add_sums(Eight (&sums)[2], const Eight& d, const Eight& z, const Eight& center) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        sums[0].x[i] += d.x[i];
        sums[1].x[i] = fmaf(d.x[i], z.x[i] - center.x[i], sums[1].x[i]);
    }
}
