// Batch norm: moments, the affine function that they define, and the sums of its backward pass.
//
//   y = γ (z - μ) / √(σ² + ε) + β = scale·z + shift      scale = γ / √(σ² + ε), shift = β - scale·μ
//
// for each channel, with the batch's mean μ and biased variance σ². The backward pass of d, the gradient of y, is
//
//   dγ = Σ d·(z - μ) / √(σ² + ε),  dβ = Σ d,  dz = scale·d + slope·(z - μ) + at_mean,
//   slope = -scale·dγ / (n √(σ² + ε)),  at_mean = -scale·dβ / n.
//
// The affine functions are applied by whatever reads z or the gradient: see device.cuh.
// With fixed statistics slope and at_mean are 0.
//
// Ioffe & Szegedy, "Batch Normalization", 2015, <https://arxiv.org/abs/1502.03167>. As in PyTorch, the running variance
// is updated with the unbiased variance. Sums and merges are in f32 where the CPU's are in f64.
#include "columns.cuh"

// ---- Sums over rows: parts. ------------------------------------------------------------------------------------

// The moments of each channel of z: parts [n_parts][2][c], then the counts.
extern "C" __global__ void __launch_bounds__(THREADS)
moments(const void* __restrict__ z, float* parts, Kind kind, Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    Moments8 own = no_moments();
    each_row(
        at, [&](u32 row) { return words_of(z, row, at.channel, kind); },
        [&](u32, const Words& words) { add_row(own, widen(words, kind)); });
    merge_block(own, slots, at);
    write_part(own, parts, split, at, kind.c);
}

// g and z of a row.
struct Pair { Words g, z; };

// Σ d and Σ d·(z - center), where d = (g·times + plus)·act'(scale·z + shift): parts [n_parts][2][c].
extern "C" __global__ void __launch_bounds__(THREADS)
norm_sums(const void* __restrict__ g, GradPrologue grad, const void* __restrict__ z, Prologue prologue, float* parts, Kind kind,
          Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    Line8 line = line_of(prologue.scale, prologue.shift, at.channel, kind);
    Eight center = channels_of(prologue.center, at.channel, kind, 0.0f);
    Eight sums[2] = {all(0.0f), all(0.0f)};
    each_row(
        at,
        [&](u32 row) { return Pair{words_of(g, row, at.channel, kind), words_of(z, row, at.channel, kind)}; },
        [&](u32 row, const Pair& words) {
            Eight x = widen(words.z, kind), d = widen(words.g, kind);
            if (grad.times || grad.plus) {
                u32 image = row / grad.area;
                if (grad.times) d = times8(d, read8(grad.times, image, at.channel, kind));
                if (grad.plus) d = plus8(d, read8(grad.plus, image, at.channel, kind));
            }
            if (prologue.activation != NONE) {
                Eight u = on_line(line, x);
                activation_slope8(prologue.activation, u);
                d = times8(d, u);
            }
            add_sums(sums, d, x, center);
        });
    sum_block<2>(sums, slots, at);
    write_part<2>(sums, parts, at, kind.c);
}

// The five sums of a gate, for each image: with u = scale·z + shift, Σ g·act(u), Σ g·act'(u), Σ g·act'(u)·(z - center),
// Σ act'(u) and Σ act'(u)·(z - center): parts [n][n_parts][5][c]. They determine the norm's sums for any `times` and
// `plus` of the gate's backward pass, and the first is the gradient of the gates.
extern "C" __global__ void __launch_bounds__(THREADS)
gate_sums(const void* __restrict__ g, const void* __restrict__ z, Prologue prologue, float* parts, Kind kind, Split split) {
    __shared__ float slots[THREADS * SLOT];
    Place at = place(split, kind.c);
    Line8 line = line_of(prologue.scale, prologue.shift, at.channel, kind);
    Eight center = channels_of(prologue.center, at.channel, kind, 0.0f);
    Eight sums[5] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
    each_row(
        at,
        [&](u32 row) { return Pair{words_of(g, row, at.channel, kind), words_of(z, row, at.channel, kind)}; },
        [&](u32, const Pair& words) {
            Eight x = widen(words.z, kind), from = widen(words.g, kind), y = on_line(line, x), slope;
            activate8(prologue.activation, y, slope);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                float apart = x.x[i] - center.x[i], d = from.x[i] * slope.x[i];
                sums[0].x[i] = fmaf(from.x[i], y.x[i], sums[0].x[i]);
                sums[1].x[i] += d;
                sums[2].x[i] = fmaf(d, apart, sums[2].x[i]);
                sums[3].x[i] += slope.x[i];
                sums[4].x[i] = fmaf(slope.x[i], apart, sums[4].x[i]);
            }
        });
    sum_block<5>(sums, slots, at);
    write_part<5>(sums, parts, at, kind.c);
}

// ---- From parts to the norm. A warp has 32 channels, a block's warps share the parts. -----------------------------

constexpr int WARPS = 32;

// The moments of a channel over parts first, first + 1, …, below `end`; in every thread of warp 0.
DEVICE Moments merge_parts(const float* __restrict__ parts, u32 n_parts, u32 c, u32 first, u32 end, u32 channel) {
    __shared__ Moments of_warps[WARPS][32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const float* counts = parts + u64(n_parts) * 2 * c;
    Moments own = {0.0f, 0.0f, 0.0f};
    if (channel < c) {
#pragma unroll 4
        for (u32 part = first + warp; part < end; part += WARPS) {
            const float* from = parts + u64(part) * 2 * c + channel;
            own = merge(own, Moments{counts[part], from[0], from[c]});
        }
    }
    of_warps[warp][lane] = own;
    __syncthreads();
    if (warp == 0) {
        for (u32 other = 1; other < WARPS; ++other) own = merge(own, of_warps[other][lane]);
    }
    return own;
}

// Merges parts of moments to fewer: [n_parts][2][c] and counts to [gridDim.y][2][c] and counts.
extern "C" __global__ void __launch_bounds__(1024)
merge_moments(const float* __restrict__ parts, float* __restrict__ fewer, u32 n_parts, u32 c, u32 per_part) {
    u32 channel = blockIdx.x * 32 + threadIdx.x % 32, part = blockIdx.y;
    u32 first = part * per_part, end = min(first + per_part, n_parts);
    Moments all = merge_parts(parts, n_parts, c, first, end, channel);
    if (threadIdx.x >= 32 || channel >= c) return;
    float* to = fewer + u64(part) * 2 * c + channel;
    to[0] = all.mean;
    to[c] = all.squares;
    if (channel == 0) fewer[u64(gridDim.y) * 2 * c + part] = all.count;
}

// The result of a norm's forward pass, and what it is made of; all [c].
struct Norm {
    const float* gamma; // or null: 1
    const float* beta;  // or null: 0
    float* scale;
    float* shift;
    float* center;  // μ
    float* inverse; // 1 / √(σ² + ε)
    float* running_mean; // or null
    float* running_variance;
    float eps, momentum;
};

DEVICE void finish(const Norm& it, u32 channel, float mean, float variance) {
    float inverse = 1.0f / sqrtf(variance + it.eps);
    float scale = it.gamma ? it.gamma[channel] * inverse : inverse;
    it.scale[channel] = scale;
    it.shift[channel] = fmaf(-scale, mean, it.beta ? it.beta[channel] : 0.0f);
    it.center[channel] = mean;
    it.inverse[channel] = inverse;
}

// The norm of a batch, and the update of its running statistics: (1 - momentum)·old + momentum·new.
extern "C" __global__ void __launch_bounds__(1024)
norm_of_batch(const float* __restrict__ parts, u32 n_parts, u32 c, Norm norm) {
    u32 channel = blockIdx.x * 32 + threadIdx.x % 32;
    Moments all = merge_parts(parts, n_parts, c, 0, n_parts, channel);
    if (threadIdx.x >= 32 || channel >= c) return;
    finish(norm, channel, all.mean, all.squares / all.count);
    if (norm.running_mean) {
        float mean = norm.running_mean[channel], variance = norm.running_variance[channel];
        norm.running_mean[channel] = fmaf(norm.momentum, all.mean - mean, mean);
        float unbiased = all.squares / (all.count - 1.0f);
        norm.running_variance[channel] = fmaf(norm.momentum, unbiased - variance, variance);
    }
}

// The norm of given statistics.
extern "C" __global__ void __launch_bounds__(256) norm_of_running(Norm norm, u32 c) {
    u32 channel = blockIdx.x * 256 + threadIdx.x;
    if (channel < c) finish(norm, channel, norm.running_mean[channel], norm.running_variance[channel]);
}

// ---- From parts to the norm's backward pass. ------------------------------------------------------------------------

// Adds parts to fewer: [n_parts][width] to [gridDim.y][width]; a block has 32 columns.
extern "C" __global__ void __launch_bounds__(1024)
add_parts(const float* __restrict__ parts, float* __restrict__ fewer, u32 n_parts, u32 width, u32 per_part) {
    __shared__ float of_warps[WARPS][32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 column = blockIdx.x * 32 + lane, first = blockIdx.y * per_part, end = min(first + per_part, n_parts);
    float own = 0.0f;
    if (column < width) {
#pragma unroll 4
        for (u32 part = first + warp; part < end; part += WARPS) own += parts[u64(part) * width + column];
    }
    of_warps[warp][lane] = own;
    __syncthreads();
    if (warp != 0 || column >= width) return;
    for (u32 other = 1; other < WARPS; ++other) own += of_warps[other][lane];
    fewer[u64(blockIdx.y) * width + column] = own;
}

// The backward pass of a norm; all [c].
struct NormBackward {
    const float* scale;
    const float* inverse;
    float* d_gamma; // or null
    float* d_beta;  // or null
    float* slope;   // null with fixed statistics
    float* at_mean;
    float count; // rows
};

// Sums two numbers of each channel over the warps of a block; in the threads of warp 0.
DEVICE void sum_warps(float& a, float& b) {
    __shared__ float of_warps[2][WARPS][32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    of_warps[0][warp][lane] = a;
    of_warps[1][warp][lane] = b;
    __syncthreads();
    if (warp != 0) return;
    for (u32 other = 1; other < WARPS; ++other) {
        a += of_warps[0][other][lane];
        b += of_warps[1][other][lane];
    }
}

// From Σ d and Σ d·(z - μ).
DEVICE void finish(const NormBackward& it, u32 channel, float d, float d_z) {
    float inverse = it.inverse ? it.inverse[channel] : 1.0f, d_gamma = d_z * inverse;
    if (it.d_gamma) it.d_gamma[channel] = d_gamma;
    if (it.d_beta) it.d_beta[channel] = d;
    if (it.slope) {
        float each = -it.scale[channel] / it.count;
        it.slope[channel] = each * d_gamma * inverse;
        it.at_mean[channel] = each * d;
    }
}

// - `parts`: [n_parts][2][c].
extern "C" __global__ void __launch_bounds__(1024)
norm_backward(const float* __restrict__ parts, u32 n_parts, u32 c, NormBackward norm) {
    u32 channel = blockIdx.x * 32 + threadIdx.x % 32;
    float d = 0.0f, d_z = 0.0f;
    if (channel < c) {
#pragma unroll 4
        for (u32 part = threadIdx.x / 32; part < n_parts; part += WARPS) {
            d += parts[u64(part) * 2 * c + channel];
            d_z += parts[u64(part) * 2 * c + c + channel];
        }
    }
    sum_warps(d, d_z);
    if (threadIdx.x < 32 && channel < c) finish(norm, channel, d, d_z);
}

// The same from the sums of a gate, [n_images][n_parts][5][c], and what the gate's backward pass made of the gradient.
// - `times`, `plus`: [n_images][c], or null.
extern "C" __global__ void __launch_bounds__(1024)
norm_backward_gated(const float* __restrict__ parts, u32 n_images, u32 n_parts, Kind kind,
                    const void* __restrict__ times, const void* __restrict__ plus, NormBackward norm) {
    u32 channel = blockIdx.x * 32 + threadIdx.x % 32, c = kind.c;
    float d = 0.0f, d_z = 0.0f;
    if (channel < c) {
#pragma unroll 2
        for (u32 part = threadIdx.x / 32; part < n_images * n_parts; part += WARPS) {
            const float* from = parts + u64(part) * 5 * c + channel;
            u64 at = u64(part / n_parts) * c + channel;
            float by = times ? read1(times, at, kind.storage) : 1.0f;
            float more = plus ? read1(plus, at, kind.storage) : 0.0f;
            d += by * from[c] + more * from[u64(3) * c];
            d_z += by * from[u64(2) * c] + more * from[u64(4) * c];
        }
    }
    sum_warps(d, d_z);
    if (threadIdx.x < 32 && channel < c) finish(norm, channel, d, d_z);
}

// The first of each image's `kinds` sums, times a factor: [n][n_parts][kinds][c] to [n][c], `n` numbers in all.
extern "C" __global__ void __launch_bounds__(256)
first_sums(const float* __restrict__ parts, u32 n_parts, u32 kinds, Kind kind, float factor, void* __restrict__ out,
           u64 n) {
    u64 at = u64(blockIdx.x) * 256 + threadIdx.x;
    if (at >= n) return;
    u64 image = at / kind.c, channel = at % kind.c;
    const float* from = parts + image * n_parts * kinds * kind.c + channel;
    float total = 0.0f;
#pragma unroll 4
    for (u32 part = 0; part < n_parts; ++part) total += from[u64(part) * kinds * kind.c];
    write1(out, at, kind.storage, total * factor);
}
