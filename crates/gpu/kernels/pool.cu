// Pooling over windows of a feature map: the largest number, with the gradient to it, and the mean, with sliding or
// adaptive windows.
//
// Twins of `ops::{max_pool, avg_pool, adaptive_avg_pool}`. Padding is never the largest number and does not count for
// the mean; of equal numbers the first in row-major order gets the gradient; NaN is larger than every number, as in
// PyTorch. Window i of an adaptive axis is ⌊i·size/out⌋..⌈(i + 1)·size/out⌉.
//
// A thread has eight channels of one position of the result. Gradients are gathered: a thread adds what the windows
// that contain its position give, always in the same order. The input is read through its prologue, one position ahead
// of its use; the gradient through the deferred steps of its backward pass.
#include "rows.cuh"

// One axis of a map and its windows.
struct Axis {
    u32 size, out;
    u32 kernel, stride, before; // of sliding windows; `before` is the padding
    u32 is_adaptive;
};

DEVICE u32 begin_of(const Axis& it, u32 window) {
    if (it.is_adaptive) return window * it.size / it.out;
    u32 at = window * it.stride;
    return at > it.before ? min(at - it.before, it.size) : 0;
}
DEVICE u32 end_of(const Axis& it, u32 window) {
    if (it.is_adaptive) return ((window + 1) * it.size + it.out - 1) / it.out;
    u32 at = window * it.stride + it.kernel;
    return at > it.before ? min(at - it.before, it.size) : 0;
}
// The windows that contain a position.
DEVICE u32 first_with(const Axis& it, u32 at) {
    if (it.is_adaptive) return at * it.out / it.size;
    u32 shifted = at + it.before;
    return shifted < it.kernel ? 0 : (shifted - it.kernel) / it.stride + 1;
}
DEVICE u32 end_with(const Axis& it, u32 at) {
    if (it.is_adaptive) return ((at + 1) * it.out + it.size - 1) / it.size;
    return min((at + it.before) / it.stride + 1, it.out);
}

// A map and its windows; the layout is that of the result.
struct Map {
    Axis down, across;
    Divisor by_width, by_height; // of the result
    Layout layout;
};

struct Position { u32 image, y, x; };

DEVICE Position position(const Map& map, u32 row) {
    u32 line = divide(row, map.by_width), image = divide(line, map.by_height);
    return {image, line - image * map.by_height.by, row - line * map.by_width.by};
}

// The positions of a rectangle in row-major order.
struct Walk {
    u32 y, x, x_begin, x_end, y_end;
    DEVICE bool is_there() const { return y < y_end; }
    DEVICE void step() {
        if (++x < x_end) return;
        x = x_begin;
        ++y;
    }
};

// The positions of a window; there is at least one, as the host has checked.
DEVICE Walk window_at(const Map& map, const Position& out) {
    u32 x = begin_of(map.across, out.x);
    return {begin_of(map.down, out.y), x, x, end_of(map.across, out.x), end_of(map.down, out.y)};
}
// The windows with a position. There may be none.
DEVICE Walk windows_with(const Map& map, const Position& in) {
    u32 x = first_with(map.across, in.x), x_end = end_with(map.across, in.x);
    u32 y = first_with(map.down, in.y), y_end = end_with(map.down, in.y);
    return {y, x, x, x_end, x < x_end ? y_end : 0};
}
DEVICE u32 row_in(const Map& map, u32 image, const Walk& at) {
    return (image * map.down.size + at.y) * map.across.size + at.x;
}
DEVICE u32 row_out(const Map& map, u32 image, const Walk& at) {
    return (image * map.down.out + at.y) * map.across.out + at.x;
}

// Eight bytes, one for each channel, as far as there are channels.
DEVICE void write_taps(unsigned char* taps, u64 at, u32 n, const u32 (&chosen)[8], bool is_whole) {
    if (is_whole) {
        u32 low = chosen[0] | chosen[1] << 8 | chosen[2] << 16 | chosen[3] << 24;
        u32 high = chosen[4] | chosen[5] << 8 | chosen[6] << 16 | chosen[7] << 24;
        *reinterpret_cast<uint2*>(taps + at) = make_uint2(low, high);
        return;
    }
#pragma unroll
    for (u32 i = 0; i < 8; ++i)
        if (i < n) taps[at + i] = static_cast<unsigned char>(chosen[i]);
}
DEVICE uint2 read_taps(const unsigned char* taps, u64 at, u32 n, bool is_whole) {
    if (is_whole) return *reinterpret_cast<const uint2*>(taps + at);
    u32 words[2] = {0, 0};
#pragma unroll
    for (u32 i = 0; i < 8; ++i)
        if (i < n) words[i / 4] |= u32(taps[at + i]) << i % 4 * 8;
    return make_uint2(words[0], words[1]);
}

// y = the largest number of each window, and its tap, the position within the window.
// - `x`: [n, h, w, c] through `prologue`; `y`, `taps`: [n, h', w', c], a byte each for the taps.
extern "C" __global__ void __launch_bounds__(THREADS)
max_pool(const void* __restrict__ x, Prologue prologue, void* __restrict__ y, unsigned char* __restrict__ taps, Kind kind,
         Map map) {
    Place at = place(map.layout, kind.c);
    if (!at.is_there) return;
    Position out = position(map, at.row);
    const Axis &down = map.down, &across = map.across;
    Line8 line = line_of(prologue.scale, prologue.shift, at.channel, kind);
    Eight most = all(-__int_as_float(0x7f800000));
    u32 chosen[8] = {};
    Walk next = window_at(map, out);
    Words ahead = words_of(x, row_in(map, out.image, next), at.channel, kind);
    while (next.is_there()) {
        Walk now = next;
        Words words = ahead;
        next.step();
        if (next.is_there()) ahead = words_of(x, row_in(map, out.image, next), at.channel, kind);
        u32 tap = (now.y + down.before - out.y * down.stride) * across.kernel;
        tap += now.x + across.before - out.x * across.stride;
        Eight v = through(prologue, line, widen(words, kind), row_in(map, out.image, now), at.channel, kind);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            // In this order, NaN wins.
            bool stays = most.x[i] >= v.x[i] || most.x[i] != most.x[i];
            most.x[i] = stays ? most.x[i] : v.x[i];
            chosen[i] = stays ? chosen[i] : tap;
        }
    }
    write8(y, at.row, at.channel, kind, narrow(most, kind));
    write_taps(taps, u64(at.row) * kind.c + at.channel, kind.c - at.channel, chosen, kind.c % 8 == 0);
}

// dx = the sum of the gradients of the windows whose largest number this is.
// - `g`, `taps`: [n, h', w', c], `g` through `prologue`; `dx`: [n, h, w, c].
extern "C" __global__ void __launch_bounds__(THREADS)
max_pool_backward(const void* __restrict__ g, GradPrologue prologue, const unsigned char* __restrict__ taps,
                  void* __restrict__ dx, Kind kind, Map map) {
    Place at = place(map.layout, kind.c);
    if (!at.is_there) return;
    Position in = position(map, at.row);
    const Axis &down = map.down, &across = map.across;
    Eight sum = all(0.0f);
    for (Walk now = windows_with(map, in); now.is_there(); now.step()) {
        u32 tap = (in.y + down.before - now.y * down.stride) * across.kernel;
        tap += in.x + across.before - now.x * across.stride;
        u32 row = row_out(map, in.image, now);
        uint2 chosen = read_taps(taps, u64(row) * kind.c + at.channel, kind.c - at.channel, kind.c % 8 == 0);
        Eight v = through(prologue, read8(g, row, at.channel, kind), row, at.channel, kind);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            u32 own = (i < 4 ? chosen.x : chosen.y) >> i % 4 * 8 & 255;
            sum.x[i] += own == tap ? v.x[i] : 0.0f;
        }
    }
    write8(dx, at.row, at.channel, kind, narrow(sum, kind));
}

// y = the mean of each window.
// - `x`: [n, h, w, c] through `prologue`; `y`: [n, h', w', c].
extern "C" __global__ void __launch_bounds__(THREADS)
avg_pool(const void* __restrict__ x, Prologue prologue, void* __restrict__ y, Kind kind, Map map) {
    Place at = place(map.layout, kind.c);
    if (!at.is_there) return;
    Position out = position(map, at.row);
    Line8 line = line_of(prologue.scale, prologue.shift, at.channel, kind);
    Eight sum = all(0.0f);
    Walk next = window_at(map, out);
    float share = 1.0f / float((next.y_end - next.y) * (next.x_end - next.x));
    Words ahead = words_of(x, row_in(map, out.image, next), at.channel, kind);
    while (next.is_there()) {
        u32 row = row_in(map, out.image, next);
        Words words = ahead;
        next.step();
        if (next.is_there()) ahead = words_of(x, row_in(map, out.image, next), at.channel, kind);
        sum = plus8(sum, through(prologue, line, widen(words, kind), row, at.channel, kind));
    }
    write8(y, at.row, at.channel, kind, narrow(times8(sum, all(share)), kind));
}

// dx = the sum of the gradients of the windows that contain the position, each divided by the window's size.
// - `g`: [n, h', w', c] through `prologue`; `dx`: [n, h, w, c].
extern "C" __global__ void __launch_bounds__(THREADS)
avg_pool_backward(const void* __restrict__ g, GradPrologue prologue, void* __restrict__ dx, Kind kind, Map map) {
    Place at = place(map.layout, kind.c);
    if (!at.is_there) return;
    Position in = position(map, at.row);
    const Axis &down = map.down, &across = map.across;
    Eight sum = all(0.0f);
    for (Walk now = windows_with(map, in); now.is_there(); now.step()) {
        u32 height = end_of(down, now.y) - begin_of(down, now.y);
        float share = 1.0f / float(height * (end_of(across, now.x) - begin_of(across, now.x)));
        u32 row = row_out(map, in.image, now);
        Eight v = through(prologue, read8(g, row, at.channel, kind), row, at.channel, kind);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum.x[i] = fmaf(share, v.x[i], sum.x[i]);
    }
    write8(dx, at.row, at.channel, kind, narrow(sum, kind));
}
