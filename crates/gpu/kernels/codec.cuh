// Numbers of two bytes, of which only a launch knows whether they are bf16 or f16, so that one kernel serves both; and
// f32 beside them. Eight channels through a prologue.
#pragma once
#include "stored.cuh"

// A stored number of two bytes.
struct two { u16 bits; };

template <class T> struct Codec;

template <> struct Codec<float> {
    DEVICE explicit Codec(u32) {}
    DEVICE float one(float x) const { return x; }
    DEVICE float stored(float x) const { return x; }
    DEVICE Eight widen(const Raw<float>& v) const { return ::widen<float>(v); }
    DEVICE Raw<float> narrow(const Eight& v) const { return ::narrow<float>(v); }
};
template <> struct Codec<two> {
    bool is_half;
    DEVICE explicit Codec(u32 storage) : is_half(storage == F16) {}
    DEVICE float one(two x) const { return is_half ? to_float(f16{x.bits}) : to_float(bf16{x.bits}); }
    DEVICE two stored(float x) const {
        return two{is_half ? to_stored<f16>(x).bits : to_stored<bf16>(x).bits};
    }
    DEVICE Eight widen(const Raw<two>& v) const {
        if (is_half) return ::widen<f16>({v.bits});
        return ::widen<bf16>({v.bits});
    }
    DEVICE Raw<two> narrow(const Eight& v) const {
        if (is_half) return {::narrow<f16>(v).bits};
        return {::narrow<bf16>(v).bits};
    }
};

// The first `n` of eight numbers at any address; the others are 0.
DEVICE Raw<float> raw_some(const float* from, int n) { return ::narrow<float>(load_some<float>(from, n)); }
DEVICE Raw<two> raw_some(const two* from, int n) {
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        u32 low = 2 * i < n ? from[2 * i].bits : 0, high = 2 * i + 1 < n ? from[2 * i + 1].bits : 0;
        words[i] = low | high << 16;
    }
    return {make_uint4(words[0], words[1], words[2], words[3])};
}
DEVICE void store_raw_some(float* to, const Raw<float>& v, int n) { store_some<float>(to, ::widen<float>(v), n); }
DEVICE void store_raw_some(two* to, const Raw<two>& v, int n) {
    u32 words[4] = {v.bits.x, v.bits.y, v.bits.z, v.bits.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
        if (i < n) to[i].bits = u16(words[i / 2] >> i % 2 * 16);
}

// Four channels, for prologues: half the code of eight, in every kernel.
struct Four { float x[4]; };

// Four channels of an optional array of f32 by channel.
DEVICE Four four_or(const float* from, u32 channel, float otherwise) {
    if (!from) return {{otherwise, otherwise, otherwise, otherwise}};
    float4 v = *reinterpret_cast<const float4*>(from + channel);
    return {{v.x, v.y, v.z, v.w}};
}
DEVICE Four load4(const Codec<float>&, const float* from) { return four_or(from, 0, 0.0f); }
DEVICE Four load4(const Codec<two>& codec, const two* from) {
    uint2 v = *reinterpret_cast<const uint2*>(from);
    if (codec.is_half) return {{low_of<f16>(v.x), high_of<f16>(v.x), low_of<f16>(v.y), high_of<f16>(v.y)}};
    return {{low_of<bf16>(v.x), high_of<bf16>(v.x), low_of<bf16>(v.y), high_of<bf16>(v.y)}};
}
DEVICE void store4(const Codec<float>&, float* to, const Four& v) {
    *reinterpret_cast<float4*>(to) = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
}
DEVICE void store4(const Codec<two>& codec, two* to, const Four& v) {
    uint2 raw;
    if (codec.is_half) raw = make_uint2(pack<f16>(v.x[0], v.x[1]), pack<f16>(v.x[2], v.x[3]));
    else raw = make_uint2(pack<bf16>(v.x[0], v.x[1]), pack<bf16>(v.x[2], v.x[3]));
    *reinterpret_cast<uint2*>(to) = raw;
}

// What a prologue needs of 4·N channels, for many rows, and their gates of one image.
template <class T, int N> struct PrologueFours {
    Four scale[N], shift[N], gate[N];
    u32 image;
    DEVICE PrologueFours(const Prologue& prologue, u32 channel) : image(~0u) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            scale[i] = four_or(prologue.scale, channel + 4 * i, 1.0f);
            shift[i] = four_or(prologue.shift, channel + 4 * i, 0.0f);
            gate[i] = four_or(nullptr, 0, 1.0f);
        }
    }
    // Reads the gates of a row's image, if it is another than the last row's.
    DEVICE void of_image(const Codec<T>& codec, const Prologue& prologue, u32 image, u32 channel, u32 c) {
        if (image == this->image) return;
        this->image = image;
        const T* from = static_cast<const T*>(prologue.gate) + u64(image) * c + channel;
#pragma unroll
        for (int i = 0; i < N; ++i) gate[i] = load4(codec, from + 4 * i);
    }
};

// What a gradient's prologue needs of four channels, for many rows, and those of one image.
template <class T> struct GradPrologueFour {
    Four scale, shift, slope, center, at_mean, times, plus;
    u32 image;
    DEVICE GradPrologueFour(const GradPrologue& prologue, u32 channel)
        : scale(four_or(prologue.scale, channel, 1.0f)), shift(four_or(prologue.shift, channel, 0.0f)),
          slope(four_or(prologue.slope, channel, 0.0f)), center(four_or(prologue.center, channel, 0.0f)),
          at_mean(four_or(prologue.at_mean, channel, 0.0f)), times(four_or(nullptr, 0, 1.0f)),
          plus(four_or(nullptr, 0, 0.0f)), image(~0u) {}
    // Reads the factors and offsets of a row's image, if it is another than the last row's.
    DEVICE void of_image(const Codec<T>& codec, const GradPrologue& prologue, u32 image, u32 channel, u32 c) {
        if (image == this->image) return;
        this->image = image;
        u64 at = u64(image) * c + channel;
        if (prologue.times) times = load4(codec, static_cast<const T*>(prologue.times) + at);
        if (prologue.plus) plus = load4(codec, static_cast<const T*>(prologue.plus) + at);
    }
};

// 4·N channels of z, in shared memory, through a prologue.
template <class T, int N> DEVICE void through(const Codec<T>& codec, const Prologue& prologue, const PrologueFours<T, N>& with, T* at) {
    float z[4 * N];
#pragma unroll
    for (int n = 0; n < N; ++n) {
        Four it = load4(codec, at + 4 * n);
#pragma unroll
        for (int i = 0; i < 4; ++i) z[4 * n + i] = fmaf(with.scale[n].x[i], it.x[i], with.shift[n].x[i]);
    }
    activate_each(prologue.activation, z);
    if (prologue.gate) {
#pragma unroll
        for (int i = 0; i < 4 * N; ++i) z[i] *= with.gate[i / 4].x[i % 4];
    }
#pragma unroll
    for (int n = 0; n < N; ++n) store4(codec, at + 4 * n, {{z[4 * n], z[4 * n + 1], z[4 * n + 2], z[4 * n + 3]}});
}

// The gradient of z of four channels, from the stored gradient, and z where `prologue.z` is given; both in shared memory.
template <class T>
DEVICE void through(const Codec<T>& codec, const GradPrologue& prologue, const GradPrologueFour<T>& four, T* at, const T* at_z) {
    Four g = load4(codec, at);
    if (prologue.times || prologue.plus) {
#pragma unroll
        for (int i = 0; i < 4; ++i) g.x[i] = fmaf(g.x[i], four.times.x[i], four.plus.x[i]);
    }
    if (prologue.z) {
        Four z = load4(codec, at_z);
        if (prologue.activation != NONE) {
            Four there;
#pragma unroll
            for (int i = 0; i < 4; ++i) there.x[i] = fmaf(four.scale.x[i], z.x[i], four.shift.x[i]);
            slope_each(prologue.activation, there.x);
#pragma unroll
            for (int i = 0; i < 4; ++i) g.x[i] *= there.x[i];
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float rest = fmaf(four.slope.x[i], z.x[i] - four.center.x[i], four.at_mean.x[i]);
            g.x[i] = fmaf(four.scale.x[i], g.x[i], rest);
        }
    }
    store4(codec, at, g);
}
