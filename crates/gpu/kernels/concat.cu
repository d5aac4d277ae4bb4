// Concatenation of channels and its gradient.
//
// Twin of `ops::concat`. Each part is read through its prologue and written to its channels of the whole; the gradient
// of a part is its channels of the whole's, after the deferred steps of its backward pass.
#include "rows.cuh"

// Numbers `first..end` of eight, at `at`.
DEVICE void write_between(void* to, u64 at, u32 storage, const Eight& v, int first, int end) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
        if (i >= first && i < end) write1(to, at + i, storage, v.x[i]);
}

// y[.., offset..offset + c] = x through `prologue`.
// - `x`: [n_rows, c]; `y`: [n_rows, width].
extern "C" __global__ void __launch_bounds__(THREADS)
concat(const void* __restrict__ x, Prologue prologue, void* __restrict__ y, Kind kind, u32 width, u32 offset, Layout layout) {
    Place at = place(layout, kind.c);
    if (!at.is_there) return;
    Line8 line = line_of(prologue.scale, prologue.shift, at.channel, kind);
    Eight v = through(prologue, line, read8(x, at.row, at.channel, kind), at.row, at.channel, kind);
    u32 to = offset + at.channel;
    if ((kind.c | width | offset) % 8 == 0) write8(y, at.row, to, Kind{kind.storage, width}, narrow(v, kind));
    else write_between(y, u64(at.row) * width + to, kind.storage, v, 0, int(kind.c - at.channel));
}

// dx = g[.., offset..offset + c] through `prologue`. A thread has eight channels of the whole, so that whole ones are one
// access; of the first and the last only some belong to the part.
// - `g`: [n_rows, width]; `dx`: [n_rows, c]; `kind` and `prologue` are those of `g`.
extern "C" __global__ void __launch_bounds__(THREADS)
concat_backward(const void* __restrict__ g, GradPrologue prologue, void* __restrict__ dx, Kind kind, u32 c, u32 offset,
                Layout layout) {
    u32 first = offset / 8 * 8;
    Place at = place(layout, offset + c - first);
    if (!at.is_there) return;
    u32 channel = first + at.channel;
    Eight v = through(prologue, read8(g, at.row, channel, kind), at.row, channel, kind);
    if ((kind.c | c | offset) % 8 == 0) {
        write8(dx, at.row, at.channel, Kind{kind.storage, c}, narrow(v, kind));
        return;
    }
    int from = int(channel) - int(offset); // negative in the first eight
    write_between(dx, u64(at.row) * c + u64(i64(from)), kind.storage, v, max(-from, 0), int(c) - from);
}
