// What the kernels over all parameters share: the tables, and how gradients are read.
//
// A step is a few launches over all parameters together. Three tables say what they are:
//
// - `Parameter`: addresses and sizes, which stay;
// - `Turn`: the gradient, the learning rate and the weight decay of one step; a parameter without a gradient takes
//   no part in the step;
// - `Chunk`: the parameter and the part of it that a block works on; or the rows of it (`Rows`).
//
// What is only known on the device stays there, in `Control`: the loss scale, whether the step is skipped, and the
// norm of the gradients; and the count of steps of each parameter, since a skipped step does not count. So the host
// waits for nothing.
#pragma once
#include "device.cuh"

constexpr u32 THREADS = 256;
// Numbers of a parameter that a block works on.
constexpr u32 CHUNK = 4096;

// How the numbers of a gradient or of a copy are stored.
enum Stored : u32 { AS_F32 = 0, AS_BF16 = 1, AS_F16 = 2 };

struct Parameter {
    float* master;    // [len]
    void* copy;       // [len]; the numbers that the network computes with, or null
    float* state[3];  // [len] each
    u32 len;
    u32 copy_stored;
    u32 n_rows;       // the outputs of a layer
    u32 first_row;    // among the rows of all parameters
    u32 first_chunk;
    u32 is_matrix;    // whether it has rows; a norm's scale or a bias has not
    u32 is_last_axis; // whether a row is every n-th number, and not neighbouring ones
    u32 padding;
};

struct Turn {
    const void* grad; // [len], or null
    u32 stored;
    u32 padding;
    double lr, decay;
};

struct Chunk { u32 parameter, idx; };

// The rows that a block works on: a warp for each of 8 rows, or a thread for each of 256 interleaved ones.
struct Rows { u32 parameter, first; };

// What the step of a parameter needs.
struct Rates {
    float lr;
    float decay;       // added to the gradient or to the direction
    float kept;        // 1 - lr · decoupled decay
    float kept_less;   // the same where AdamP projects
    float size;        // lr / (1 - β₁ᵗ); LAMB: lr · trust ratio
    float first, root; // 1 - β₁ᵗ, √(1 - β₂ᵗ)
    float taken;       // SGD: 1 - dampening, or 1 at the first step
};

struct Control {
    double norm;        // of all gradients, unscaled and before clipping by norm
    float scale;        // what the loss's gradient is multiplied by
    float unscale;      // 1 / scale in this step
    float factor;       // by which clipping by norm multiplies the gradients
    float share;        // the same of LAMB
    u32 good_steps;     // since the loss scale has changed
    u32 skipped_steps;  // of all
    u32 is_skipped;     // whether this step is
    u32 is_non_finite;  // whether a gradient of this step is NaN or infinite
};

// A sum, and whether a number of it is NaN or infinite.
struct Partial { double sum; u32 is_non_finite, padding; };

// Four numbers, or the first `n` of them. A whole four is one access where the address allows it.
struct Four { float x[4]; };

DEVICE bool is_aligned(const void* at, u32 bytes) { return u64(at) % bytes == 0; }

DEVICE Four load4(const float* from, int n) {
    Four v;
    if (n >= 4 && is_aligned(from, 16)) {
        float4 it = *reinterpret_cast<const float4*>(from);
        return {{it.x, it.y, it.z, it.w}};
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) v.x[i] = i < n ? from[i] : 0.0f;
    return v;
}
template <class T> DEVICE Four load4_short(const T* from, int n) {
    Four v;
    if (n >= 4 && is_aligned(from, 8)) {
        uint2 it = *reinterpret_cast<const uint2*>(from);
        return {{low_of<T>(it.x), high_of<T>(it.x), low_of<T>(it.y), high_of<T>(it.y)}};
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) v.x[i] = i < n ? to_float(from[i]) : 0.0f;
    return v;
}
DEVICE Four load4_stored(const void* from, u32 stored, u64 at, int n) {
    if (stored == AS_F32) return load4(static_cast<const float*>(from) + at, n);
    if (stored == AS_BF16) return load4_short(static_cast<const bf16*>(from) + at, n);
    return load4_short(static_cast<const f16*>(from) + at, n);
}

DEVICE void store4(float* to, const Four& v, int n) {
    if (n >= 4 && is_aligned(to, 16)) {
        *reinterpret_cast<float4*>(to) = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < n) to[i] = v.x[i];
}
template <class T> DEVICE void store4_short(T* to, const Four& v, int n) {
    if (n >= 4 && is_aligned(to, 8)) {
        *reinterpret_cast<uint2*>(to) = make_uint2(pack<T>(v.x[0], v.x[1]), pack<T>(v.x[2], v.x[3]));
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < n) to[i] = to_stored<T>(v.x[i]);
}
DEVICE void store4_stored(void* to, u32 stored, u64 at, const Four& v, int n) {
    if (stored == AS_F32) store4(static_cast<float*>(to) + at, v, n);
    else if (stored == AS_BF16) store4_short(static_cast<bf16*>(to) + at, v, n);
    else store4_short(static_cast<f16*>(to) + at, v, n);
}

DEVICE float load_stored(const void* from, u32 stored, u64 at) {
    if (stored == AS_F32) return static_cast<const float*>(from)[at];
    if (stored == AS_BF16) return to_float(static_cast<const bf16*>(from)[at]);
    return to_float(static_cast<const f16*>(from)[at]);
}
DEVICE void store_stored(void* to, u32 stored, u64 at, float x) {
    if (stored == AS_F32) static_cast<float*>(to)[at] = x;
    else if (stored == AS_BF16) static_cast<bf16*>(to)[at] = to_stored<bf16>(x);
    else static_cast<f16*>(to)[at] = to_stored<f16>(x);
}

DEVICE bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// The gradient without the loss scale, each number clamped to ±limit where that is above 0. Like candle's, the clamp
// keeps a NaN.
DEVICE float unscaled(float g, float unscale, float limit) {
    g *= unscale;
    if (limit > 0.0f) g = g > limit ? limit : g < -limit ? -limit : g;
    return g;
}

// Sums in f64 are exact to the bits that the host's have; squares of f32 do not overflow in it.
DEVICE double warp_sum(double x) {
#pragma unroll
    for (int apart = 16; apart; apart /= 2) {
        u64 bits = u64(__double_as_longlong(x));
        u32 low = __shfl_xor_sync(0xffffffffu, u32(bits), apart);
        u32 high = __shfl_xor_sync(0xffffffffu, u32(bits >> 32), apart);
        x += __longlong_as_double(i64(u64(high) << 32 | low));
    }
    return x;
}
// The sum of a block, in every thread. `parts` is shared memory of 32 numbers; all threads call it.
DEVICE double block_sum(double x, double* parts) {
    x = warp_sum(x);
    __syncthreads(); // A previous call may still be read.
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    double total = 0.0;
    for (u32 i = 0; i < (blockDim.x + 31) / 32; ++i) total += parts[i];
    return total;
}
