// Elementwise operations over rows of channels: sums of two tensors, prologues applied, gradients, and the sums by
// channel or by image that they leave for a norm, a bias or a pooling.
//
// Twins of `ops::{add, prologue::materialise, prologue::Grad, pool, activate}`. Prologues are described in device.cuh,
// sums in columns.cuh. Storage and sums are rounded once: all arithmetic of a number is in f32.
#include "columns.cuh"

// Two tensors' words of a row.
struct Pair { Words x, y; };

// out = a(x) + b(y), or a(x) without y; and where there are `parts`, the moments of the result as it is stored:
// [n_parts][2][c], then the counts.
extern "C" __global__ void __launch_bounds__(THREADS)
combine(const void* __restrict__ x, Prologue a, const void* __restrict__ y, Prologue b, void* __restrict__ out, float* parts,
        Kind kind, Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    u32 channel = at.channel;
    Line8 line_a = line_of(a.scale, a.shift, channel, kind), line_b = line_of(b.scale, b.shift, channel, kind);
    Moments8 own = no_moments();
    each_row(
        at,
        [&](u32 row) {
            return Pair{words_of(x, row, channel, kind), y ? words_of(y, row, channel, kind) : no_words()};
        },
        [&](u32 row, const Pair& words) {
            Eight total = through(a, line_a, widen(words.x, kind), row, channel, kind);
            if (y) total = plus8(total, through(b, line_b, widen(words.y, kind), row, channel, kind));
            Words stored = narrow(total, kind);
            write8(out, row, channel, kind, stored);
            if (parts) add_row(own, widen(stored, kind));
        });
    if (!parts) return;
    merge_block(own, slots, at);
    write_part(own, parts, split, at, kind.c);
}

// out = (prologue(g) + h)·act'(scale·z + shift), each part optional; and where there are `parts`, Σ out and
// Σ out·(z - center) of the result as it is stored: [n_parts][2][c].
// - `z`, `prologue`: the tensor that the result is the gradient of, and its prologue, without a gate.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
gradient(const void* __restrict__ g, GradPrologue grad, const void* __restrict__ h, const void* __restrict__ z, Prologue prologue,
         void* __restrict__ out, float* parts, Kind kind, Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    u32 channel = at.channel;
    Eight center = channels_of(prologue.center, channel, kind, 0.0f);
    Eight sums[2] = {all(0.0f), all(0.0f)};
    each_row(
        at,
        [&](u32 row) {
            return Pair{words_of(g, row, channel, kind), h ? words_of(h, row, channel, kind) : no_words()};
        },
        [&](u32 row, const Pair& words) {
            Eight x = z ? read8(z, row, channel, kind) : all(0.0f);
            Eight d = through(grad, widen(words.x, kind), row, channel, kind);
            if (h) d = plus8(d, widen(words.y, kind));
            if (z && prologue.activation != NONE) {
                Eight u = on_line(line_of(prologue.scale, prologue.shift, channel, kind), x);
                activation_slope8(prologue.activation, u);
                d = times8(d, u);
            }
            Words stored = narrow(d, kind);
            write8(out, row, channel, kind, stored);
            if (parts) add_sums(sums, widen(stored, kind), x, center);
        });
    if (!parts) return;
    sum_block<2>(sums, slots, at);
    write_part<2>(sums, parts, at, kind.c);
}

// Σ of each channel of a gradient: parts [n_parts][c].
extern "C" __global__ void __launch_bounds__(THREADS)
column_sums(const void* __restrict__ g, GradPrologue prologue, float* parts, Kind kind, Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    Eight sums[1] = {all(0.0f)};
    each_row(
        at, [&](u32 row) { return words_of(g, row, at.channel, kind); },
        [&](u32 row, const Words& words) {
            sums[0] = plus8(sums[0], through(prologue, widen(words, kind), row, at.channel, kind));
        });
    sum_block<1>(sums, slots, at);
    write_part<1>(sums, parts, at, kind.c);
}

// Σ of each channel of each image of prologue(x): parts [n][n_parts][c]; with `out`, which needs one part an image, the
// means, [n][c], at once.
extern "C" __global__ void __launch_bounds__(THREADS)
image_sums(const void* __restrict__ x, Prologue prologue, float* parts, void* __restrict__ out, float factor, Kind kind,
           Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    Line8 line = line_of(prologue.scale, prologue.shift, at.channel, kind);
    Eight sums[1] = {all(0.0f)};
    each_row(
        at, [&](u32 row) { return words_of(x, row, at.channel, kind); },
        [&](u32 row, const Words& words) {
            sums[0] = plus8(sums[0], through(prologue, line, widen(words, kind), row, at.channel, kind));
        });
    sum_block<1>(sums, slots, at);
    if (!out) {
        write_part<1>(sums, parts, at, kind.c);
    } else if (at.down == 0 && at.has_channels) {
        Eight mean = times8(sums[0], all(factor));
        write8(out, at.segment, at.channel, kind, narrow(mean, kind));
    }
}

// out = factor·x, number by number.
extern "C" __global__ void __launch_bounds__(256)
scaled(const void* __restrict__ x, float factor, void* __restrict__ out, u32 storage, u64 n) {
    u64 at = u64(blockIdx.x) * 256 + threadIdx.x;
    if (at < n) write1(out, at, storage, factor * read1(x, at, storage));
}
