// What all kernels use: stored numbers, loads and stores of eight, activations, prologues, matrix units, sums.
//
// Numbers are stored as f32, bf16 or f16, and all arithmetic is in f32. Rows of channels (NHWC) are read eight
// channels at a time: a vector access where the channels are a multiple of 8, scalar ones otherwise.
//
// A prologue (`Prologue`) is a deferred norm, activation and gate, applied by whatever reads the tensor:
//
//   y = act(scale[c]·z + shift[c])·gate[n][c],
//
// and the gradient of z from the stored gradient g of y (`GradPrologue`) is
//
//   d = (g·times[n][c] + plus[n][c])·act'(scale·z + shift),    dz = scale·d + slope·(z - center) + at_mean.
//
// Every part is optional: a null pointer. On the CPU these are `ops::prologue::{Prologue, Grad}`; there the
// last line has an offset instead of `center` and `at_mean`, which needs f64.
//
// Instructions: NVIDIA, "Parallel Thread Execution ISA", <https://docs.nvidia.com/cuda/parallel-thread-execution/>.
// No header of CUDA's is needed: types and conversions are our own.
#pragma once

#define DEVICE __device__ __forceinline__

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// How numbers are stored.
struct bf16 { u16 bits; };
struct f16 { u16 bits; };

template <class T> struct Is { static constexpr bool f32 = false; };
template <> struct Is<float> { static constexpr bool f32 = true; };

// ---- Conversions: to f32 exactly, from f32 to the nearest, ties to even. -------------------------------

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }
DEVICE float to_float(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

template <class T> DEVICE T to_stored(float x);
template <> DEVICE float to_stored<float>(float x) { return x; }
template <> DEVICE bf16 to_stored<bf16>(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
template <> DEVICE f16 to_stored<f16>(float x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// The number as it will be stored.
template <class T> DEVICE float rounded(float x) { return to_float(to_stored<T>(x)); }

// Two numbers in one register, the first in the lower half.
template <class T> DEVICE u32 pack(float low, float high);
template <> DEVICE u32 pack<bf16>(float low, float high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
template <> DEVICE u32 pack<f16>(float low, float high) {
    return u32(to_stored<f16>(low).bits) | u32(to_stored<f16>(high).bits) << 16;
}

template <class T> DEVICE float low_of(u32 two);
template <class T> DEVICE float high_of(u32 two);
template <> DEVICE float low_of<bf16>(u32 two) { return __uint_as_float(two << 16); }
template <> DEVICE float high_of<bf16>(u32 two) { return __uint_as_float(two & 0xffff0000u); }
template <> DEVICE float low_of<f16>(u32 two) { return to_float(f16{u16(two)}); }
template <> DEVICE float high_of<f16>(u32 two) { return to_float(f16{u16(two >> 16)}); }

// ---- Eight numbers of neighbouring channels. --------------------------------------------------------------

struct Eight { float x[8]; };

// Eight numbers as they are stored: loaded early, converted late.
template <class T> struct Raw { uint4 bits; };
template <> struct Raw<float> { float4 low, high; };

DEVICE Eight all(float x) { return {{x, x, x, x, x, x, x, x}}; }

template <class T> DEVICE Raw<T> raw8(const T* from) {
    return {*reinterpret_cast<const uint4*>(from)};
}
template <> DEVICE Raw<float> raw8<float>(const float* from) {
    const float4* at = reinterpret_cast<const float4*>(from);
    return {at[0], at[1]};
}
template <class T> DEVICE Raw<T> raw_zero() { return {make_uint4(0, 0, 0, 0)}; }
template <> DEVICE Raw<float> raw_zero<float>() {
    float4 zero = make_float4(0, 0, 0, 0);
    return {zero, zero};
}

template <class T> DEVICE Eight widen(const Raw<T>& raw) {
    uint4 v = raw.bits;
    return {{low_of<T>(v.x), high_of<T>(v.x), low_of<T>(v.y), high_of<T>(v.y),
             low_of<T>(v.z), high_of<T>(v.z), low_of<T>(v.w), high_of<T>(v.w)}};
}
template <> DEVICE Eight widen<float>(const Raw<float>& raw) {
    return {{raw.low.x, raw.low.y, raw.low.z, raw.low.w, raw.high.x, raw.high.y, raw.high.z, raw.high.w}};
}
template <class T> DEVICE Raw<T> narrow(const Eight& v) {
    return {make_uint4(pack<T>(v.x[0], v.x[1]), pack<T>(v.x[2], v.x[3]),
                       pack<T>(v.x[4], v.x[5]), pack<T>(v.x[6], v.x[7]))};
}
template <> DEVICE Raw<float> narrow<float>(const Eight& v) {
    return {make_float4(v.x[0], v.x[1], v.x[2], v.x[3]), make_float4(v.x[4], v.x[5], v.x[6], v.x[7])};
}

// Eight numbers at an address that is a multiple of 16 bytes.
template <class T> DEVICE Eight load8(const T* from) { return widen<T>(raw8<T>(from)); }
template <class T> DEVICE void store8_raw(T* to, const Raw<T>& v) { *reinterpret_cast<uint4*>(to) = v.bits; }
template <> DEVICE void store8_raw<float>(float* to, const Raw<float>& v) {
    reinterpret_cast<float4*>(to)[0] = v.low;
    reinterpret_cast<float4*>(to)[1] = v.high;
}
template <class T> DEVICE void store8(T* to, const Eight& v) { store8_raw<T>(to, narrow<T>(v)); }

// The first `n` numbers at any address; the others are `fill`.
template <class T> DEVICE Eight load_some(const T* from, int n, float fill = 0.0f) {
    Eight v;
#pragma unroll
    for (int i = 0; i < 8; ++i) v.x[i] = i < n ? to_float(from[i]) : fill;
    return v;
}
template <class T> DEVICE void store_some(T* to, const Eight& v, int n) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
        if (i < n) to[i] = to_stored<T>(v.x[i]);
}

// Eight channels of a row of `c`, beginning with channel `channel`: WHOLE where `c` is a multiple of 8 (one
// vector access), otherwise number by number, with zeros beyond the last channel.
template <bool WHOLE, class T> DEVICE Eight load_row(const T* from, u32 channel, u32 c, float fill = 0.0f) {
    if (WHOLE) return load8<T>(from + channel);
    return load_some<T>(from + channel, int(c) - int(channel), fill);
}
template <bool WHOLE, class T> DEVICE void store_row(T* to, u32 channel, u32 c, const Eight& v) {
    if (WHOLE) store8<T>(to + channel, v);
    else store_some<T>(to + channel, v, int(c) - int(channel));
}
// The same of an optional array of f32 by channel.
template <bool WHOLE> DEVICE Eight load_or(const float* from, u32 channel, u32 c, float otherwise) {
    return from ? load_row<WHOLE, float>(from, channel, c, otherwise) : all(otherwise);
}

template <class T> DEVICE Eight rounded8(const Eight& v) {
    Eight y;
#pragma unroll
    for (int i = 0; i < 8; ++i) y.x[i] = rounded<T>(v.x[i]);
    return y;
}

// ---- Activations, numbered as `ops::Activation`. The derivatives at the kinks are 0, as in PyTorch. -------

enum Activation : u32 { NONE = 0, RELU = 1, RELU6 = 2, SILU = 3, SIGMOID = 4, GELU = 5 };

// 2ˣ and 1 / x, one instruction each, with a relative error of about 2⁻²² and 2⁻²³; what would be denormal is 0.
DEVICE float fast_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float fast_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float fast_exp(float x) { return fast_exp2(1.44269504088896341f * x); }

// 1 / (1 + e⁻ˣ): a relative error of about 2⁻²¹.
DEVICE float sigmoid(float x) { return fast_reciprocal(1.0f + fast_exp(-x)); }
// Φ(x), the normal CDF, and φ(x), its density. Φ has a relative error of about 10⁻⁶ down to -8, by the Chebyshev
// fit of erfc of Press et al., "Numerical Recipes in C", 2nd edition, 1992, section 6.2.
DEVICE float normal_cdf(float x) {
    float z = 0.70710678118654752f * fabsf(x), t = fast_reciprocal(1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = fmaf(p, t, -0.82215223f);
    p = fmaf(p, t, 1.48851587f);
    p = fmaf(p, t, -1.13520398f);
    p = fmaf(p, t, 0.27886807f);
    p = fmaf(p, t, -0.18628806f);
    p = fmaf(p, t, 0.09678418f);
    p = fmaf(p, t, 0.37409196f);
    p = fmaf(p, t, 1.00002368f);
    p = fmaf(p, t, -1.26551223f);
    float beyond = 0.5f * t * fast_exp(fmaf(-z, z, p));
    return x < 0.0f ? beyond : 1.0f - beyond;
}
DEVICE float normal_density(float x) { return 0.39894228040143268f * fast_exp(-0.5f * x * x); }

// Where Φ and φ underflow to 0, x may be infinite.
DEVICE float gelu(float x) { return (x < -40.0f ? -40.0f : x) * normal_cdf(x); }
DEVICE float gelu_slope(float x) {
    x = x < -40.0f ? -40.0f : x > 40.0f ? 40.0f : x;
    return x * normal_density(x) + normal_cdf(x);
}
// Unlike max and min, these keep a NaN.
DEVICE float relu(float x) { return x < 0.0f ? 0.0f : x; }
DEVICE float relu6(float x) { return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x; }
DEVICE float relu_slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
DEVICE float relu6_slope(float x) { return x > 0.0f && x < 6.0f ? 1.0f : 0.0f; }
DEVICE float silu_slope(float x) {
    float s = sigmoid(x);
    return s + x * s * (1.0f - s);
}
DEVICE float sigmoid_slope(float x) {
    float s = sigmoid(x);
    return s * (1.0f - s);
}

// The branches compare in halves, so that the compiler makes no table of jumps.
DEVICE float activate(u32 activation, float x) {
    if (activation >= SILU) {
        if (activation > SIGMOID) return gelu(x);
        float s = sigmoid(x);
        return activation == SILU ? x * s : s;
    }
    if (activation != NONE) return activation == RELU ? relu(x) : relu6(x);
    return x;
}
// act'(x).
DEVICE float activation_slope(u32 activation, float x) {
    if (activation >= SILU) {
        if (activation > SIGMOID) return gelu_slope(x);
        return activation == SILU ? silu_slope(x) : sigmoid_slope(x);
    }
    if (activation != NONE) return activation == RELU ? relu_slope(x) : relu6_slope(x);
    return 1.0f;
}

// Of N numbers: one branch for all of them. Long formulas are a loop through which the numbers rotate, since their code
// is in every kernel.

// Moves all numbers on by one, and another one to the end.
template <int N> DEVICE void rotate(float (&v)[N], float last) {
#pragma unroll
    for (int i = 0; i < N - 1; ++i) v[i] = v[i + 1];
    v[N - 1] = last;
}

template <int N> DEVICE void activate_each(u32 activation, float (&v)[N]) {
    if (activation > SILU) {
#pragma unroll 1
        for (int i = 0; i < N; ++i) rotate(v, activation == GELU ? gelu(v[0]) : sigmoid(v[0]));
    } else if (activation == SILU) {
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] *= sigmoid(v[i]);
    } else if (activation != NONE) {
        float top = activation == RELU ? __int_as_float(0x7f800000) : 6.0f;
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = v[i] < 0.0f ? 0.0f : v[i] > top ? top : v[i];
    }
}
// Replaces each number by act(number), and gives act'(number) too.
template <int N> DEVICE void activate_each(u32 activation, float (&v)[N], float (&slope)[N]) {
    if (activation > SILU) {
#pragma unroll 1
        for (int i = 0; i < N; ++i) {
            float x = v[0];
            rotate(slope, activation == GELU ? gelu_slope(x) : sigmoid_slope(x));
            rotate(v, activation == GELU ? gelu(x) : sigmoid(x));
        }
    } else if (activation == SILU) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            float s = sigmoid(v[i]), y = v[i] * s;
            slope[i] = fmaf(y, 1.0f - s, s);
            v[i] = y;
        }
    } else {
        float bottom = activation == NONE ? -__int_as_float(0x7f800000) : 0.0f;
        float top = activation == RELU6 ? 6.0f : -__int_as_float(0xff800000);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            float x = v[i];
            slope[i] = activation == NONE || x > bottom && x < top ? 1.0f : 0.0f;
            v[i] = x < bottom ? bottom : x > top ? top : x;
        }
    }
}
// Replaces each number by act'(number).
template <int N> DEVICE void slope_each(u32 activation, float (&v)[N]) {
    if (activation > SILU) {
#pragma unroll 1
        for (int i = 0; i < N; ++i) rotate(v, activation == GELU ? gelu_slope(v[0]) : sigmoid_slope(v[0]));
    } else if (activation == SILU) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            float s = sigmoid(v[i]);
            v[i] = fmaf(v[i] * s, 1.0f - s, s);
        }
    } else {
        float top = activation == RELU6 ? 6.0f : __int_as_float(0x7f800000);
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = activation == NONE || v[i] > 0.0f && v[i] < top ? 1.0f : 0.0f;
    }
}

DEVICE void activate8(u32 activation, Eight& v) { activate_each(activation, v.x); }
DEVICE void activate8(u32 activation, Eight& v, Eight& slope) { slope = v; activate_each(activation, v.x, slope.x); }
DEVICE void activation_slope8(u32 activation, Eight& v) { slope_each(activation, v.x); }

// ---- Prologues. The mirrors in Rust are in `prologue.rs`. -------------------------------------------------------

// How a tensor z, rows of `c` channels, is read.
struct Prologue {
    const float* scale;  // [c]
    const float* shift;  // [c]
    const float* center; // [c]: what sums of the backward pass are relative to
    const void* gate;    // [n][c], as stored numbers
    u32 activation;
    u32 area; // rows of an image
};

// How a gradient g, rows of `c` channels, is read.
struct GradPrologue {
    const void* times; // [n][c], as stored numbers
    const void* plus;  // [n][c], as stored numbers
    const void* z;     // [rows][c], as stored numbers: what the norm was applied to
    const float* scale;   // [c]
    const float* shift;   // [c]
    const float* slope;   // [c]
    const float* center;  // [c]
    const float* at_mean; // [c]
    u32 activation;
    u32 area; // rows of an image
};

// scale·z + shift of eight channels.
struct Line8 { Eight scale, shift; };

template <bool WHOLE> DEVICE Line8 line_at(const float* scale, const float* shift, u32 channel, u32 c) {
    return {load_or<WHOLE>(scale, channel, c, 1.0f), load_or<WHOLE>(shift, channel, c, 0.0f)};
}
DEVICE Eight on_line(const Line8& line, const Eight& z) {
    Eight y;
#pragma unroll
    for (int i = 0; i < 8; ++i) y.x[i] = fmaf(line.scale.x[i], z.x[i], line.shift.x[i]);
    return y;
}
DEVICE Eight times8(const Eight& a, const Eight& b) {
    Eight y;
#pragma unroll
    for (int i = 0; i < 8; ++i) y.x[i] = a.x[i] * b.x[i];
    return y;
}
DEVICE Eight plus8(const Eight& a, const Eight& b) {
    Eight y;
#pragma unroll
    for (int i = 0; i < 8; ++i) y.x[i] = a.x[i] + b.x[i];
    return y;
}

// ---- Division by a number that is known before the launch. ---------------------------------------------------

// n / by = (n·times) >> (32 + shift), for n < 2³¹: Granlund & Montgomery, "Division by Invariant Integers using
// Multiplication", 1994. `times` = 0 is a division by 1.
struct Divisor { u32 by, times, shift; };

DEVICE u32 divide(u32 n, const Divisor& d) { return d.times ? __umulhi(n, d.times) >> d.shift : n; }

// ---- Sums. Always in the same order, so that every run has the same bits. ------------------------------------

DEVICE float warp_sum(float x) {
#pragma unroll
    for (int apart = 16; apart; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
    return x;
}
DEVICE float warp_max(float x) {
#pragma unroll
    for (int apart = 16; apart; apart /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, apart));
    return x;
}
// The sum of a block of whole warps, in every thread. `parts` is shared memory of 32 numbers; all threads call it.
DEVICE float block_sum(float x, float* parts) {
    x = warp_sum(x);
    u32 warps = (blockDim.x + 31) / 32;
    __syncthreads(); // A previous call may still be read.
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
    for (u32 i = 0; i < warps; ++i) total += parts[i];
    return total;
}

// The count, the mean, and the squares about it.
struct Moments { float count, mean, squares; };

// Of two parts together: Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample
// Variances", 1979.
DEVICE Moments merge(const Moments& a, const Moments& b) {
    float count = a.count + b.count;
    if (b.count == 0.0f) return a;
    if (a.count == 0.0f) return b;
    float share = b.count / count, apart = b.mean - a.mean;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

// ---- Copies to shared memory, and the matrix units. --------------------------------------------------------

DEVICE u32 shared_address(const void* at) { return u32(__cvta_generic_to_shared(at)); }

// Copies 16 bytes to shared memory asynchronously, or writes 16 zero bytes; both addresses are aligned.
DEVICE void copy_async(void* to, const void* from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}
DEVICE void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of copies of this thread are left.
template <int N> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }

// Four 8x8 matrices of 2-byte numbers: lane l gives the address of row l % 8 of matrix l / 8.
DEVICE void load_matrices(u32 (&m)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(shared_address(row)) : "memory");
}
DEVICE void load_matrices_transposed(u32 (&m)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(shared_address(row)) : "memory");
}

// D += A·B by a warp: A is 16x16, B is 16x8, D is f32. In D lane l has rows l / 4 and l / 4 + 8, and columns
// l % 4 · 2 and the next.
template <class T> DEVICE void multiply_add(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <> DEVICE void multiply_add<bf16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> DEVICE void multiply_add<f16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
