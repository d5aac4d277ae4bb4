// Tensors whose storage is known at run time only: eight channels of a row of `c`, read and written as f32.
//
// Kernels that are bound by memory have time for a uniform branch, so that one kernel serves f32, bf16 and f16, and
// channels that are a multiple of 8 (16 bytes at once) or not (number by number). Fewer kernels, and less PTX.
#pragma once
#include "device.cuh"

// As `number::Storage`.
enum Storage : u32 { F32 = 0, BF16 = 1, F16 = 2 };

// What a kernel knows of all its tensors: rows of `c` numbers.
struct Kind {
    u32 storage;
    u32 c;
    DEVICE bool is_whole() const { return c % 8 == 0; }
};
// The same where the channels are known to be a multiple of 8.
struct WholeKind : Kind {
    DEVICE bool is_whole() const { return true; }
};

// Eight numbers as they are stored: `low` has all of 2 bytes each, or the first four of 4 bytes.
struct Words { uint4 low, high; };

DEVICE Words no_words() { return {make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)}; }

// Eight channels of row `row` of a tensor, beginning with `channel`; zeros beyond the last channel.
template <class K> DEVICE Words words_of(const void* tensor, u64 row, u32 channel, const K& kind) {
    u64 at = row * kind.c + channel;
    Words v = no_words();
    if (kind.is_whole()) {
        if (kind.storage == F32) {
            const uint4* from = reinterpret_cast<const uint4*>(static_cast<const float*>(tensor) + at);
            v.low = from[0];
            v.high = from[1];
        } else {
            v.low = *reinterpret_cast<const uint4*>(static_cast<const u16*>(tensor) + at);
        }
        return v;
    }
    u32 n = kind.c - channel;
    u32 words[8];
    if (kind.storage == F32) {
        const u32* from = static_cast<const u32*>(tensor) + at;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) words[i] = i < n ? from[i] : 0;
    } else {
        const u16* from = static_cast<const u16*>(tensor) + at;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            u32 low = 2 * i < n ? from[2 * i] : 0, high = 2 * i + 1 < n ? from[2 * i + 1] : 0;
            words[i] = low | high << 16;
            words[4 + i] = 0;
        }
    }
    v.low = make_uint4(words[0], words[1], words[2], words[3]);
    v.high = make_uint4(words[4], words[5], words[6], words[7]);
    return v;
}

template <class K> DEVICE Eight widen(const Words& v, const K& kind) {
    if (kind.storage == BF16) return widen(Raw<bf16>{v.low});
    if (kind.storage == F16) return widen(Raw<f16>{v.low});
    return {{__uint_as_float(v.low.x), __uint_as_float(v.low.y), __uint_as_float(v.low.z), __uint_as_float(v.low.w),
             __uint_as_float(v.high.x), __uint_as_float(v.high.y), __uint_as_float(v.high.z),
             __uint_as_float(v.high.w)}};
}

template <class K> DEVICE Words narrow(const Eight& v, const K& kind) {
    if (kind.storage == BF16) return {narrow<bf16>(v).bits, make_uint4(0, 0, 0, 0)};
    if (kind.storage == F16) return {narrow<f16>(v).bits, make_uint4(0, 0, 0, 0)};
    const float(&x)[8] = v.x;
    return {make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3])),
            make_uint4(__float_as_uint(x[4]), __float_as_uint(x[5]), __float_as_uint(x[6]), __float_as_uint(x[7]))};
}

template <class K> DEVICE Eight read8(const void* tensor, u64 row, u32 channel, const K& kind) {
    return widen(words_of(tensor, row, channel, kind), kind);
}

template <class K> DEVICE void write8(void* tensor, u64 row, u32 channel, const K& kind, const Words& v) {
    u64 at = row * kind.c + channel;
    if (kind.is_whole()) {
        if (kind.storage == F32) {
            uint4* to = reinterpret_cast<uint4*>(static_cast<float*>(tensor) + at);
            to[0] = v.low;
            to[1] = v.high;
        } else {
            *reinterpret_cast<uint4*>(static_cast<u16*>(tensor) + at) = v.low;
        }
        return;
    }
    u32 n = kind.c - channel;
    const u32 words[8] = {v.low.x, v.low.y, v.low.z, v.low.w, v.high.x, v.high.y, v.high.z, v.high.w};
    if (kind.storage == F32) {
        u32* to = static_cast<u32*>(tensor) + at;
#pragma unroll
        for (u32 i = 0; i < 8; ++i)
            if (i < n) to[i] = words[i];
    } else {
        u16* to = static_cast<u16*>(tensor) + at;
#pragma unroll
        for (u32 i = 0; i < 8; ++i)
            if (i < n) to[i] = u16(words[i / 2] >> i % 2 * 16);
    }
}

// One number.
DEVICE float read1(const void* tensor, u64 at, u32 storage) {
    if (storage == F32) return static_cast<const float*>(tensor)[at];
    u16 bits = static_cast<const u16*>(tensor)[at];
    return storage == BF16 ? to_float(bf16{bits}) : to_float(f16{bits});
}
DEVICE void write1(void* tensor, u64 at, u32 storage, float x) {
    if (storage == F32) static_cast<float*>(tensor)[at] = x;
    else static_cast<u16*>(tensor)[at] = storage == BF16 ? to_stored<bf16>(x).bits : to_stored<f16>(x).bits;
}
// The number as it will be stored.
DEVICE float round1(float x, u32 storage) {
    return storage == F32 ? x : storage == BF16 ? rounded<bf16>(x) : rounded<f16>(x);
}

// Eight of an optional array of f32 by channel.
template <class K> DEVICE Eight channels_of(const float* from, u32 channel, const K& kind, float otherwise) {
    if (!from || channel >= kind.c) return all(otherwise);
    if (kind.is_whole()) return load8<float>(from + channel);
    return load_some<float>(from + channel, int(kind.c) - int(channel), otherwise);
}
template <class K> DEVICE Line8 line_of(const float* scale, const float* shift, u32 channel, const K& kind) {
    return {channels_of(scale, channel, kind, 1.0f), channels_of(shift, channel, kind, 0.0f)};
}

// Eight channels of z through a prologue whose line is in registers.
template <class K> DEVICE Eight through(const Prologue& prologue, const Line8& line, Eight z, u32 row, u32 channel, const K& kind) {
    z = on_line(line, z);
    activate8(prologue.activation, z);
    if (prologue.gate) z = times8(z, read8(prologue.gate, row / prologue.area, channel, kind));
    return z;
}

// What a gradient's reader keeps of eight channels of a norm.
struct GradLine {
    Line8 line;
    Eight slope, center, at_mean;
};

template <class K> DEVICE GradLine line_of(const GradPrologue& prologue, u32 channel, const K& kind) {
    return {line_of(prologue.scale, prologue.shift, channel, kind), channels_of(prologue.slope, channel, kind, 0.0f),
            channels_of(prologue.center, channel, kind, 0.0f), channels_of(prologue.at_mean, channel, kind, 0.0f)};
}

// g·times + plus of eight channels of a row.
template <class K> DEVICE Eight through_gate(const GradPrologue& prologue, Eight g, u32 row, u32 channel, const K& kind) {
    if (prologue.times || prologue.plus) {
        u32 image = row / prologue.area;
        if (prologue.times) g = times8(g, read8(prologue.times, image, channel, kind));
        if (prologue.plus) g = plus8(g, read8(prologue.plus, image, channel, kind));
    }
    return g;
}

// The gradient before a norm, from that after its gate.
DEVICE Eight through_norm(const GradPrologue& prologue, const GradLine& line, Eight d, const Eight& z) {
    if (prologue.activation != NONE) {
        Eight u = on_line(line.line, z);
        activation_slope8(prologue.activation, u);
        d = times8(d, u);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float rest = fmaf(line.slope.x[i], z.x[i] - line.center.x[i], line.at_mean.x[i]);
        d.x[i] = fmaf(line.line.scale.x[i], d.x[i], rest);
    }
    return d;
}

// The gradient of z of eight channels of a row, from the stored gradient.
template <class K> DEVICE Eight through(const GradPrologue& prologue, Eight g, u32 row, u32 channel, const K& kind) {
    g = through_gate(prologue, g, row, channel, kind);
    if (!prologue.z) return g;
    return through_norm(prologue, line_of(prologue, channel, kind), g, read8(prologue.z, row, channel, kind));
}
