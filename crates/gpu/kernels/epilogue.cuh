// What follows a product: its results go through shared memory, so that each thread has eight neighbouring channels
// of some rows, are finished, stored as vectors, and summed by channel.
//
//   forward: y = act(scale·sum + shift + plus), and the moments of y as stored
//   input:   d = (sum + plus)·act'(scale·z + shift), and Σ d, Σ d·(z - center), as stored
//   input of a gate: g = sum + plus, and by image the five sums of a gate
//
// (`ops::Epilogue`, `Moments`, `BackwardSums` on the CPU.) Moments are sums from a pivot, the tile's first number, but for
// its rounding: the squares about it are at most the tile's rows times those about the mean, and their difference loses
// as many units of the last bit. After a residual or an activation the pivot is 0.
#pragma once
#include "operands.cuh"

// How many rows ahead of its use a row of z or of `plus` is loaded.
constexpr int AHEAD = 2;

template <bool WHOLE, class T> DEVICE Raw<T> raw_row(const T* row, u32 channel, int n) {
    if (WHOLE || n >= 8 && u64(row + channel) % 16 == 0) return raw8<T>(row + channel);
    return raw_some(row + channel, n);
}

template <class O, int PASS, bool TAPS, bool WHOLE> struct Finish {
    using S = typename O::S;
    using T = typename S::T;

    const Job& job;
    const O& block;
    int chunks;      // of eight columns, that are there
    int lanes;       // threads of a chunk
    int chunk, lane; // the thread's first column, and its lane, whose rows are `lanes` apart
    int rows;
    u32 c, channel; // channels of a row of the output, and the thread's first
    int n;          // how many of its eight are there

    DEVICE Finish(const Job& job, const O& block) : job(job), block(block) {
        chunks = (min(block.columns - block.column, u32(S::BN)) + 7) / 8;
        lanes = S::THREADS / chunks;
        lane = threadIdx.x / chunks;
        chunk = (threadIdx.x - lane * chunks) * 8;
        rows = int(block.end - block.first);
        c = PASS == FORWARD ? job.n_out : job.n_in;
        u32 wide = PASS == FORWARD ? job.wide_out : job.wide_in;
        channel = block.product * wide + block.column + chunk;
        n = int(block.columns) - int(block.column) - chunk;
        n = lane >= lanes ? 0 : n > 8 ? 8 : n;
    }
    DEVICE u32 first_channel() const { return channel - chunk; }
    DEVICE u32 row_of(int r) const { return PASS == INPUT && TAPS ? u32(block.table[r].w) : block.first + r; }
    DEVICE const T* row(const void* from, int r) const { return static_cast<const T*>(from) + u64(row_of(r)) * c; }
    DEVICE Eight channels(const float* from, float otherwise) const {
        return !from || n == 0 ? all(otherwise) : WHOLE ? load8<float>(from + channel) : load_some<float>(from + channel, n, otherwise);
    }
    // Stores eight channels, and gives them as they are stored.
    DEVICE Eight store(int r, const Eight& v) const {
        T* to = static_cast<T*>(job.out) + u64(row_of(r)) * c + channel;
        Raw<T> raw = block.codec.narrow(v);
        if (WHOLE || n == 8 && u64(to) % 16 == 0) store8_raw<T>(to, raw);
        else store_raw_some(to, raw, n);
        return block.codec.widen(raw);
    }

    // A row of an optional tensor, loaded ahead.
    struct Stream {
        Raw<T> rows[AHEAD];
        const void* from;
    };
    DEVICE void fetch(const Stream& s, Raw<T>& into, int r) const {
        if (s.from && r < rows) into = raw_row<WHOLE, T>(row(s.from, r), channel, n);
    }
    DEVICE void begin(Stream& s, const void* from) const {
        s.from = from;
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            s.rows[i] = raw_zero<T>();
            if (n > 0) fetch(s, s.rows[i], lane + i * lanes);
        }
    }
    DEVICE Eight next(Stream& s, int r) const {
        Raw<T> now = s.rows[0];
#pragma unroll
        for (int i = 1; i < AHEAD; ++i) s.rows[i - 1] = s.rows[i];
        fetch(s, s.rows[AHEAD - 1], r + AHEAD * lanes);
        return block.codec.widen(now);
    }
    DEVICE Eight result(const float* results, int r) const { return load8<float>(results + r * S::PITCH_OUT + chunk); }

    // A thread's sums of a kind, for those that add the lanes: [kind][lane][BN].
    DEVICE void put(float* shared, int kind, const Eight& sums) const {
        if (n > 0) store8<float>(shared + ((kind * lanes + lane) * chunks) * 8 + chunk, sums);
    }
    // The sum of the lanes, in order, of number `at` of the `chunks` of a kind.
    DEVICE float total_of(const float* shared, int kind, int at) const {
        int width = chunks * 8;
        const float* from = shared + kind * lanes * width + at;
        float total = 0.0f;
#pragma unroll 4
        for (int l = 0; l < lanes; ++l, from += width) total += *from;
        return total;
    }

    DEVICE void forward(float* results, u32 part) const {
        Stream plus;
        begin(plus, job.plus);
        Eight scale = channels(job.scale, 1.0f), shift = channels(job.shift, 0.0f);
        __syncthreads();
        // The same for all lanes, so that their sums can be added.
        Eight pivot = result(results, 0), sum = all(0.0f), square = all(0.0f);
#pragma unroll
        for (int i = 0; i < 8; ++i) pivot.x[i] = fmaf(scale.x[i], pivot.x[i], shift.x[i]);
        if (job.plus || job.activation != NONE) pivot = all(0.0f);
        if (n > 0) {
#pragma unroll 1
            for (int r = lane; r < rows; r += lanes) {
                Eight v = result(results, r);
#pragma unroll
                for (int i = 0; i < 8; ++i) v.x[i] = fmaf(scale.x[i], v.x[i], shift.x[i]);
                if (job.plus) v = plus8(v, next(plus, r));
                activate8(job.activation, v);
                v = store(r, v);
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    float apart = v.x[i] - pivot.x[i];
                    sum.x[i] += apart;
                    square.x[i] = fmaf(apart, apart, square.x[i]);
                }
            }
        }
        if (!job.parts) return;
        // The pivots last, as a third kind: they lie beside the sums.
        __syncthreads();
        put(results, 0, sum);
        put(results, 1, square);
        float* pivots = results + 2 * lanes * chunks * 8;
        if (lane == 0 && n > 0) store8<float>(pivots + chunk, pivot);
        __syncthreads();
        int most = int(block.columns - block.column);
        for (int col = threadIdx.x; col < chunks * 8 && col < most; col += S::THREADS) {
            float sum = total_of(results, 0, col), mean = sum / float(rows);
            float* to = job.parts + u64(part) * 2 * c + first_channel() + col;
            to[0] = pivots[col] + mean;
            to[c] = fmaxf(total_of(results, 1, col) - sum * mean, 0.0f);
        }
        if (block.product == 0 && block.column == 0 && threadIdx.x == 0)
            job.parts[u64(job.n_parts) * 2 * c + part] = float(rows);
    }

    DEVICE void input(float* results, u32 part) const {
        const Prologue& prologue = job.prologue;
        bool is_gated = job.is_by_image, reads_z = prologue.activation != NONE || job.parts;
        Stream plus, zs;
        begin(plus, job.plus);
        begin(zs, reads_z ? job.x : nullptr);
        __syncthreads();
        Eight g_y = all(0.0f), sum_d = g_y, sum_dz = g_y, there = g_y, there_z = g_y;
        if (n > 0) {
#pragma unroll 1
            for (int r = lane; r < rows; r += lanes) {
                Eight v = result(results, r);
                if (job.plus) v = plus8(v, next(plus, r));
                if (!reads_z) {
                    store(r, v);
                    continue;
                }
                // Read again for each row, from the cache, since registers are few.
                Line8 line = {channels(prologue.scale, 1.0f), channels(prologue.shift, 0.0f)};
                Eight z = next(zs, r), y = on_line(line, z), slope;
                activate8(prologue.activation, y, slope);
                if (!is_gated) v = times8(v, slope);
                v = store(r, v);
                Eight center = channels(prologue.center, 0.0f);
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    float apart = z.x[i] - center.x[i], d = v.x[i];
                    if (is_gated) {
                        g_y.x[i] = fmaf(d, y.x[i], g_y.x[i]);
                        there.x[i] += slope.x[i];
                        there_z.x[i] = fmaf(slope.x[i], apart, there_z.x[i]);
                        d *= slope.x[i];
                    }
                    sum_d.x[i] += d;
                    sum_dz.x[i] = fmaf(d, apart, sum_dz.x[i]);
                }
            }
        }
        if (!job.parts) return;
        u32 kinds = is_gated ? 5 : 2;
        __syncthreads();
        put(results, is_gated ? 1 : 0, sum_d);
        put(results, is_gated ? 2 : 1, sum_dz);
        if (is_gated) {
            put(results, 0, g_y);
            put(results, 3, there);
            put(results, 4, there_z);
        }
        __syncthreads();
        int most = int(block.columns - block.column);
        for (int i = threadIdx.x; i < int(kinds) * chunks * 8; i += S::THREADS) {
            int kind = i / (chunks * 8), col = i - kind * chunks * 8;
            if (col < most) job.parts[(u64(part) * kinds + kind) * c + first_channel() + col] = total_of(results, kind, col);
        }
    }

    // f32, [split][n_out][tap][group_in].
    DEVICE void weight(float* results, u32 split) const {
        __syncthreads();
        if (n <= 0) return;
        u32 taps = TAPS ? job.window.kh * job.window.kw : 1, length = taps * job.group_in;
        float* to = static_cast<float*>(job.out) + u64(split) * job.n_out * length;
#pragma unroll 1
        for (int r = lane; r < S::BM; r += lanes) {
            u32 out = block.m0 + r;
            if (out >= job.wide_out) break;
            Eight v = result(results, r);
            float* row = to + u64(block.product * job.wide_out + out) * length;
            if (!block.merged()) {
                row += block.column + chunk;
                if (WHOLE) store8<float>(row, v);
                else store_some<float>(row, v, n);
                continue;
            }
            u32 group = out / job.group_out;
            for (int i = 0; i < n; ++i) {
                u32 col = block.column + chunk + i, tap = divide(col, job.width_in);
                u32 in = col - tap * job.width_in.by;
                if (in / job.group_in == group) row[tap * job.group_in + in - group * job.group_in] = results[r * S::PITCH_OUT + chunk + i];
            }
        }
    }
};
