// Tiles of the operands of a product: copied to shared memory asynchronously, eight channels at a time, then sent
// through their prologue where they lie, each by the thread that copied it.
//
// Where channels are no multiple of 8 (WHOLE is false), an operand may have to be read number by number; it is then
// sent through its prologue at once.
#pragma once
#include "job.cuh"

template <bool FIRST, class A, class B> struct Pick { using Type = A; };
template <class A, class B> struct Pick<false, A, B> { using Type = B; };

// A place in the summed dimension, (tap, channel), of a kernel of `nx` taps a line.
struct Place {
    u32 channel, i, j; // tap (j, i)
    DEVICE void advance(u32 by, u32 channels, u32 nx) {
        channel += by;
        while (channel >= channels) {
            channel -= channels;
            if (++i == nx) { i = 0; ++j; }
        }
    }
};

// What a block computes, and where its operands are.
template <class S_, int PASS, bool TAPS, bool WHOLE> struct Operands {
    using S = S_;
    using T = typename S::T;
    static constexpr bool A_LAST = PASS != WEIGHT, B_LAST = PASS == FORWARD;
    static constexpr int A_TILE = S::template TILE<A_LAST, S::BM>, B_TILE = S::template TILE<B_LAST, S::BN>;
    static constexpr int A_PITCH = S::template PITCH<A_LAST, S::BM>, B_PITCH = S::template PITCH<B_LAST, S::BN>;
    // Chunks of eight of a row of a tile, rows between a thread's chunks, and its chunks.
    static constexpr int A_CHUNKS = (A_LAST ? S::BK : S::BM) / 8, A_APART = S::THREADS / A_CHUNKS;
    static constexpr int A_EACH = (A_LAST ? S::BM : S::BK) / A_APART;
    static constexpr int B_CHUNKS = (B_LAST ? S::BK : S::BN) / 8, B_APART = S::THREADS / B_CHUNKS;
    static constexpr int B_EACH = (B_LAST ? S::BN : S::BK) / B_APART;
    static_assert(A_EACH * A_APART == (A_LAST ? S::BM : S::BK), "a tile is whole chunks of all threads");
    static_assert(B_EACH * B_APART == (B_LAST ? S::BN : S::BK), "a tile is whole chunks of all threads");

    const Job& job;
    const Codec<T> codec;
    const int4* table;   // of each row of the tile: first line and column, image, row of the output
    u32 product;         // which group, or groups
    u32 first, end;      // rows of the tile; of the weight's gradient those that are summed over
    u32 column, columns; // the tile's first column, and how many columns there are
    u32 m0;              // the tile's first row: of the weight's gradient an output channel
    u32 ny, nx;          // taps
    u32 tap_y, tap_x, tap_step; // tap (j, i) is the kernel's (tap_y + step·j, tap_x + step·i)

    DEVICE explicit Operands(const Job& job) : job(job), codec(job.storage) {}

    DEVICE bool merged() const { return TAPS && job.wide_in != job.group_in; }
    DEVICE bool x_vector() const { return WHOLE || (job.n_in % 8 == 0 && job.wide_in % 8 == 0); }
    DEVICE bool g_vector() const { return WHOLE || (job.n_out % 8 == 0 && job.wide_out % 8 == 0); }
    DEVICE bool w_vector() const { return WHOLE || job.group_in % 8 == 0; }
    DEVICE bool has_prologue() const { return job.prologue.scale || job.prologue.shift || job.prologue.gate || job.prologue.activation != NONE; }
    DEVICE bool has_grad_prologue() const { return job.grad.z || job.grad.times || job.grad.plus; }

    // Where a number of the map is that row `r` of the tile sees at a tap; false if it is in the padding.
    DEVICE bool seen(int r, const Place& at, u32& pixel, u32& image) const {
        if (!TAPS) {
            pixel = first + r;
            image = divide(pixel, job.area);
            return pixel < end;
        }
        int4 row = table[r];
        const Window& win = job.window;
        u32 h = PASS == INPUT ? win.oh : win.h, w = PASS == INPUT ? win.ow : win.w;
        int y = PASS == INPUT ? row.x - int(at.j) : row.x + int(at.j);
        int x = PASS == INPUT ? row.y - int(at.i) : row.y + int(at.i);
        pixel = (u32(row.z) * h + u32(y)) * w + u32(x);
        image = u32(row.z);
        return u32(y) < h && u32(x) < w;
    }
    // The same for a row that is summed over.
    DEVICE bool seen_by(u32 m, const Place& at, u32& pixel, u32& image) const {
        image = divide(m, job.area);
        if (!TAPS) {
            pixel = m;
            return m < end;
        }
        const Window& win = job.window;
        u32 rest = m - image * job.area.by, oy = divide(rest, job.width), ox = rest - oy * job.width.by;
        u32 y = oy * win.stride + at.j - win.top, x = ox * win.stride + at.i - win.left;
        pixel = (image * win.h + y) * win.w + x;
        return m < end && y < win.h && x < win.w;
    }
    // The offset of a weight, and whether it is one: not so between merged groups.
    DEVICE bool weight_at(u32 out, u32 in, u32 j, u32 i, u64& at) const {
        u32 taps = TAPS ? job.window.kh * job.window.kw : 1;
        u32 tap = TAPS ? (tap_y + tap_step * j) * job.window.kw + tap_x + tap_step * i : 0;
        bool is_there = true;
        u32 within = in;
        if (merged()) {
            u32 group = out / job.group_out;
            is_there = group == in / job.group_in;
            within = in - group * job.group_in;
        }
        at = (u64(product * job.wide_out + out) * taps + tap) * job.group_in + within;
        return is_there;
    }

    DEVICE static void copy8(T* to, const T* from, bool is_there) {
        copy_async(to, from, is_there);
        if (S::F32) copy_async(to + 4, from + 4, is_there);
    }
    // One number through a prologue.
    DEVICE float x_of(u64 pixel, u32 channel, u32 image) const {
        float z = codec.one(static_cast<const T*>(job.x)[pixel * job.n_in + channel]);
        if (job.prologue.scale) z *= job.prologue.scale[channel];
        if (job.prologue.shift) z += job.prologue.shift[channel];
        z = activate(job.prologue.activation, z);
        if (job.prologue.gate) z *= codec.one(static_cast<const T*>(job.prologue.gate)[u64(image) * job.n_in + channel]);
        return z;
    }
    DEVICE float g_of(u64 pixel, u32 channel, u32 image) const {
        const GradPrologue& prologue = job.grad;
        float g = codec.one(static_cast<const T*>(job.g)[pixel * job.n_out + channel]);
        if (prologue.times) g *= codec.one(static_cast<const T*>(prologue.times)[u64(image) * job.n_out + channel]);
        if (prologue.plus) g += codec.one(static_cast<const T*>(prologue.plus)[u64(image) * job.n_out + channel]);
        if (prologue.z) {
            float z = codec.one(static_cast<const T*>(prologue.z)[pixel * job.n_out + channel]);
            float scale = prologue.scale ? prologue.scale[channel] : 1.0f;
            if (prologue.activation != NONE) {
                float u = scale * z + (prologue.shift ? prologue.shift[channel] : 0.0f);
                g *= activation_slope(prologue.activation, u);
            }
            g *= scale;
            if (prologue.slope) g += prologue.slope[channel] * (z - (prologue.center ? prologue.center[channel] : 0.0f));
            if (prologue.at_mean) g += prologue.at_mean[channel];
        }
        return g;
    }

    // ---- A: rows of X or G. -----------------------------------------------------------------------------------

    DEVICE const auto& a_prologue() const {
        if constexpr (PASS == FORWARD) return job.prologue;
        else return job.grad;
    }
    DEVICE u32 a_inner() const { return PASS == FORWARD ? job.wide_in : job.wide_out; }
    DEVICE bool a_vector() const { return PASS == FORWARD ? x_vector() : g_vector(); }
    // The thread's place in the summed dimension, or the fixed channel of it.
    DEVICE Place a_begin() const {
        u32 chunk = threadIdx.x % A_CHUNKS * 8;
        Place at = {0, 0, 0};
        if (!A_LAST) at.channel = m0 + chunk;
        else if (TAPS) at.advance(chunk, a_inner(), nx);
        else at.channel = chunk;
        return at;
    }
    DEVICE void a_advance(Place& at) const {
        if (!A_LAST) return;
        if (TAPS) at.advance(S::BK, a_inner(), nx);
        else at.channel += S::BK;
    }
    // Whether the thread's chunk `i` is there, for rows from `k0` if those are summed over.
    DEVICE bool a_there(const Place& at, int i, u32 k0, u32& pixel, u32& image) const {
        int r = threadIdx.x / A_CHUNKS + i * A_APART;
        if (A_LAST) return seen(r, at, pixel, image) && (TAPS ? at.j < ny : at.channel < a_inner());
        pixel = k0 + r;
        image = divide(pixel, job.area);
        return pixel < end && at.channel < a_inner();
    }
    DEVICE void a_load(T* tile, T* tile_z, const Place& at, u32 k0) const {
        const T* from = static_cast<const T*>(PASS == FORWARD ? job.x : job.g);
        u32 c = PASS == FORWARD ? job.n_in : job.n_out;
        if (a_vector()) {
#pragma unroll
            for (int i = 0; i < A_EACH; ++i) {
                u32 pixel, image;
                bool is_there = a_there(at, i, k0, pixel, image);
                u64 offset = is_there ? u64(pixel) * c + product * a_inner() + at.channel : 0;
                int to = (threadIdx.x / A_CHUNKS + i * A_APART) * A_PITCH + threadIdx.x % A_CHUNKS * 8;
                copy8(tile + to, from + offset, is_there);
                if (PASS != FORWARD && job.grad.z) copy8(tile_z + to, static_cast<const T*>(job.grad.z) + offset, is_there);
            }
            return;
        }
#pragma unroll 1
        for (int i = 0; i < A_EACH; ++i) {
            T* to = tile + (threadIdx.x / A_CHUNKS + i * A_APART) * A_PITCH + threadIdx.x % A_CHUNKS * 8;
            Place each = at;
#pragma unroll 1
            for (int e = 0; e < 8; ++e) {
                u32 pixel, image;
                bool is_there = a_there(each, i, k0, pixel, image);
                u32 channel = product * a_inner() + each.channel;
                float v = !is_there ? 0.0f : PASS == FORWARD ? x_of(pixel, channel, image) : g_of(pixel, channel, image);
                to[e] = codec.stored(v);
                if (A_LAST && TAPS) each.advance(1, a_inner(), nx);
                else ++each.channel;
            }
        }
    }
    DEVICE void a_through(T* tile, const T* tile_z, const Place& at, u32 k0) const {
        if (PASS == FORWARD ? !has_prologue() : !has_grad_prologue()) return;
        if (!a_vector()) return;
        u32 channel = product * a_inner() + at.channel, c = PASS == FORWARD ? job.n_in : job.n_out;
        if (at.channel >= a_inner()) return;
        // Four channels at a time where registers are few.
        constexpr int STEP = PASS == FORWARD && !(TAPS && S::BN == 128) ? 8 : 4;
        using Constants = typename Pick<PASS == FORWARD, PrologueFours<T, STEP / 4>, GradPrologueFour<T>>::Type;
        bool by_image = PASS == FORWARD ? job.prologue.gate != nullptr : job.grad.times || job.grad.plus;
#pragma unroll 1
        for (int part = 0; part < 8; part += STEP, channel += STEP) {
            Constants constants(a_prologue(), channel);
            int to = threadIdx.x / A_CHUNKS * A_PITCH + threadIdx.x % A_CHUNKS * 8 + part;
#pragma unroll 1
            for (int i = 0; i < A_EACH; ++i, to += A_APART * A_PITCH) {
                u32 pixel = first + threadIdx.x / A_CHUNKS + i * A_APART, image = 0;
                // Rows beyond the last give results that nobody reads, but not where rows are summed over.
                if ((TAPS || !A_LAST) && !a_there(at, i, k0, pixel, image)) continue;
                if (!TAPS && A_LAST && by_image) image = divide(min(pixel, end - 1), job.area);
                if (by_image) constants.of_image(codec, a_prologue(), image, channel, c);
                if constexpr (PASS == FORWARD) through(codec, job.prologue, constants, tile + to);
                else through(codec, job.grad, constants, tile + to, tile_z + to);
            }
        }
    }

    // ---- B: the weight, or rows of X. ----------------------------------------------------------------------------

    DEVICE u32 b_inner() const { return PASS == INPUT ? job.wide_out : job.wide_in; }
    DEVICE bool b_vector() const { return PASS == WEIGHT ? x_vector() : w_vector(); }
    DEVICE Place b_begin() const {
        Place at = {0, 0, 0};
        if (PASS == WEIGHT) {
            u32 n = column + threadIdx.x % B_CHUNKS * 8;
            if (TAPS) at.advance(n, job.wide_in, nx);
            else at.channel = n;
        } else if (PASS == FORWARD) {
            u32 chunk = threadIdx.x % B_CHUNKS * 8;
            if (TAPS) at.advance(chunk, b_inner(), nx);
            else at.channel = chunk;
        } else {
            u32 row = threadIdx.x / B_CHUNKS;
            if (TAPS) at.advance(row, b_inner(), nx);
            else at.channel = row;
        }
        return at;
    }
    DEVICE void b_advance(Place& at) const {
        if (PASS == WEIGHT) return;
        if (TAPS) at.advance(S::BK, b_inner(), nx);
        else at.channel += S::BK;
    }
    DEVICE bool b_inside(const Place& at) const { return TAPS ? at.j < ny : at.channel < b_inner(); }
    // Number `e` of the thread's chunk `i`: its offset, if it is there.
    DEVICE bool w_there(const Place& at, int i, u32 e, u64& offset) const {
        if (PASS == FORWARD) {
            u32 n = column + threadIdx.x / B_CHUNKS + i * B_APART;
            return weight_at(n, at.channel, at.j, at.i, offset) && n < columns && b_inside(at);
        }
        u32 n = column + threadIdx.x % B_CHUNKS * 8 + e;
        return weight_at(at.channel, n, at.j, at.i, offset) && n < columns && b_inside(at);
    }
    DEVICE void b_load(T* tile, const Place& begin, u32 k0) const {
        const T* from = static_cast<const T*>(PASS == WEIGHT ? job.x : job.weight);
        Place at = begin;
        if (b_vector()) {
#pragma unroll
            for (int i = 0; i < B_EACH; ++i) {
                int r = threadIdx.x / B_CHUNKS + i * B_APART;
                u64 offset;
                bool is_there;
                if (PASS == WEIGHT) {
                    u32 pixel, image;
                    is_there = seen_by(k0 + r, at, pixel, image) && b_inside(at);
                    offset = u64(pixel) * job.n_in + product * job.wide_in + at.channel;
                } else {
                    is_there = w_there(at, i, 0, offset);
                }
                copy8(tile + r * B_PITCH + threadIdx.x % B_CHUNKS * 8, from + (is_there ? offset : 0), is_there);
                if (PASS == INPUT) {
                    if (TAPS) at.advance(B_APART, b_inner(), nx);
                    else at.channel += B_APART;
                }
            }
            return;
        }
#pragma unroll 1
        for (int i = 0; i < B_EACH; ++i) {
            int r = threadIdx.x / B_CHUNKS + i * B_APART;
            T* to = tile + r * B_PITCH + threadIdx.x % B_CHUNKS * 8;
            Place each = at;
#pragma unroll 1
            for (int e = 0; e < 8; ++e) {
                T v = codec.stored(0.0f);
                if (PASS == WEIGHT) {
                    u32 pixel, image;
                    if (seen_by(k0 + r, each, pixel, image) && b_inside(each))
                        v = codec.stored(x_of(pixel, product * job.wide_in + each.channel, image));
                } else {
                    u64 offset;
                    if (w_there(each, i, e, offset)) v = from[offset];
                }
                to[e] = v;
                if (PASS == INPUT) continue; // the same channel of the output for all eight
                if (TAPS) each.advance(1, b_inner(), nx);
                else ++each.channel;
            }
            if (PASS == INPUT) {
                if (TAPS) at.advance(B_APART, b_inner(), nx);
                else at.channel += B_APART;
            }
        }
    }
    DEVICE void b_through(T* tile, const Place& at, u32 k0) const {
        if constexpr (PASS == WEIGHT) {
            if (!has_prologue() || !b_vector()) return;
            if (!b_inside(at)) return;
            u32 channel = product * job.wide_in + at.channel;
            PrologueFours<T, 2> constants(job.prologue, channel);
#pragma unroll 1
            for (int i = 0; i < B_EACH; ++i) {
                int r = threadIdx.x / B_CHUNKS + i * B_APART;
                u32 pixel, image;
                if (!seen_by(k0 + r, at, pixel, image)) continue;
                if (job.prologue.gate) constants.of_image(codec, job.prologue, image, channel, job.n_in);
                through(codec, job.prologue, constants, tile + r * B_PITCH + threadIdx.x % B_CHUNKS * 8);
            }
        }
    }
};
