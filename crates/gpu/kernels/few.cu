// Linear layers of few rows: the layers of a squeeze-and-excitation block, whose rows are the images of a batch, and the
// logits. Tiles of `product.cu` would be too few for the card; here a warp has one row of four outputs, or a thread
// eight channels of one row.
//
//   Y[m, n] = act(scale·Σ_k prologue(X)[m, k]·W[n, k] + shift + plus)
//   dX[m, k] = (Σ_n prologue(G)[m, n]·W[n, k] + plus)·act'(scale·z + shift)
//   dW[n, k] = Σ_m prologue(G)[m, n]·prologue(X)[m, k]
//
// Products and sums are in f32, of numbers that were not rounded after their prologue. The launches are in `few.rs`.
#include "stored.cuh"

// Outputs of a warp.
constexpr u32 OUTPUTS = 4;

struct Layer {
    u32 rows, n_in, n_out, storage;
    DEVICE Kind in() const { return {storage, n_in}; }
    DEVICE Kind out() const { return {storage, n_out}; }
};

DEVICE float dot8(const Eight& a, const Eight& b) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(a.x[i], b.x[i], sum);
    return sum;
}

// Blocks: x = rows, y = 16 outputs; 4 warps of 4 outputs.
extern "C" __global__ void __launch_bounds__(128)
    few_forward(const void* __restrict__ x, Prologue prologue, const void* __restrict__ weight, const float* scale, const float* shift,
                const void* plus, void* __restrict__ y, u32 activation, Layer layer) {
    u32 row = blockIdx.x, lane = threadIdx.x % 32, first = (blockIdx.y * 4 + threadIdx.x / 32) * OUTPUTS;
    Kind in = layer.in();
    float sums[OUTPUTS] = {};
#pragma unroll 1
    for (u32 channel = lane * 8; channel < layer.n_in; channel += 256) {
        Line8 line = line_of(prologue.scale, prologue.shift, channel, in);
        Eight v = through(prologue, line, read8(x, row, channel, in), row, channel, in);
        if (!in.is_whole()) {
            // Channels beyond the last give act(0), and their weights are read as 0: only a NaN would remain.
#pragma unroll
            for (int i = 0; i < 8; ++i)
                if (channel + i >= layer.n_in) v.x[i] = 0.0f;
        }
        // A loop through which the sums rotate: a read's code is long.
#pragma unroll 1
        for (u32 o = first; o < first + OUTPUTS; ++o) {
            float sum = sums[0];
            if (o < layer.n_out) sum += dot8(v, read8(weight, o, channel, in));
            rotate(sums, sum);
        }
    }
    float sum = 0.0f;
#pragma unroll
    for (u32 o = 0; o < OUTPUTS; ++o) {
        float total = warp_sum(sums[o]);
        if (lane == o) sum = total;
    }
    u32 out = first + lane;
    if (lane >= OUTPUTS || out >= layer.n_out) return;
    u64 at = u64(row) * layer.n_out + out;
    if (scale) sum *= scale[out];
    if (shift) sum += shift[out];
    if (plus) sum += read1(plus, at, layer.storage);
    write1(y, at, layer.storage, activate(activation, sum));
}

// Blocks: x = rows, y = chunks of the input's channels. Shared memory: the row's gradients, then sums of the splits.
// `parts`: [rows][2][n_in], or null.
extern "C" __global__ void __launch_bounds__(256)
    few_input(const void* __restrict__ g, GradPrologue grad, const void* __restrict__ weight, const void* z, Prologue prologue,
              const void* plus, void* __restrict__ dx, float* parts, Layer layer) {
    extern __shared__ float4 memory[];
    float* shared = reinterpret_cast<float*>(memory);
    u32 row = blockIdx.x;
    Kind in = layer.in(), out = layer.out();
    u32 padded = (layer.n_out + 7) / 8 * 8;
    for (u32 channel = threadIdx.x * 8; channel < layer.n_out; channel += 256 * 8)
        store8<float>(shared + channel, through(grad, read8(g, row, channel, out), row, channel, out));
    __syncthreads();
    u32 all_chunks = (layer.n_in + 7) / 8, chunks = min(all_chunks, 256u), splits = 256 / chunks;
    u32 split = threadIdx.x / chunks, chunk = threadIdx.x - split * chunks;
    u32 channel = (blockIdx.y * chunks + chunk) * 8;
    bool is_there = split < splits && channel < layer.n_in;
    Eight sum = all(0.0f);
    if (is_there) {
#pragma unroll 4
        for (u32 o = split; o < layer.n_out; o += splits) {
            Eight w = read8(weight, o, channel, in);
            float d = shared[o];
#pragma unroll
            for (int i = 0; i < 8; ++i) sum.x[i] = fmaf(d, w.x[i], sum.x[i]);
        }
    }
    float* sums = shared + padded;
    if (is_there) store8<float>(sums + (split * chunks + chunk) * 8, sum);
    __syncthreads();
    if (!is_there || split > 0) return;
#pragma unroll 1
    for (u32 s = 1; s < splits; ++s) sum = plus8(sum, load8<float>(sums + (s * chunks + chunk) * 8));
    if (plus) sum = plus8(sum, read8(plus, row, channel, in));
    Eight apart = all(0.0f);
    if (z) {
        Eight at = read8(z, row, channel, in);
        Eight there = on_line(line_of(prologue.scale, prologue.shift, channel, in), at);
        activation_slope8(prologue.activation, there);
        sum = times8(sum, there);
        Eight center = channels_of(prologue.center, channel, in, 0.0f);
#pragma unroll
        for (int i = 0; i < 8; ++i) apart.x[i] = at.x[i] - center.x[i];
    }
    Words words = narrow(sum, in);
    write8(dx, row, channel, in, words);
    if (!parts) return;
    Kind f32 = {F32, layer.n_in};
    sum = widen(words, in);
    write8(parts, 2 * row, channel, f32, narrow(sum, f32));
    write8(parts, 2 * row + 1, channel, f32, narrow(times8(sum, apart), f32));
}

// Blocks: x = 128 channels of the input, y = 16 outputs; a thread has eight channels of one output.
extern "C" __global__ void __launch_bounds__(256)
    few_weight(const void* __restrict__ g, GradPrologue grad, const void* __restrict__ x, Prologue prologue, float* __restrict__ dw, Layer layer) {
    constexpr u32 ROWS = 16;
    __shared__ float xs[ROWS][128], gs[ROWS][16];
    Kind in = layer.in(), out = layer.out();
    u32 chunk = threadIdx.x % 16, lane = threadIdx.x / 16;
    u32 channel = blockIdx.x * 128 + chunk * 8, mine = blockIdx.y * 16 + lane;
    Eight sum = all(0.0f);
#pragma unroll 1
    for (u32 first = 0; first < layer.rows; first += ROWS) {
        u32 row = first + lane;
        Eight v = all(0.0f);
        if (row < layer.rows && channel < layer.n_in) {
            Line8 line = line_of(prologue.scale, prologue.shift, channel, in);
            v = through(prologue, line, read8(x, row, channel, in), row, channel, in);
        }
        store8<float>(&xs[lane][chunk * 8], v);
        if (chunk < 2) {
            u32 o = blockIdx.y * 16 + chunk * 8;
            Eight d = all(0.0f);
            if (row < layer.rows && o < layer.n_out) d = through(grad, read8(g, row, o, out), row, o, out);
            store8<float>(&gs[lane][chunk * 8], d);
        }
        __syncthreads();
#pragma unroll 4
        for (u32 r = 0; r < ROWS; ++r) {
            float d = gs[r][lane];
            Eight a = load8<float>(&xs[r][chunk * 8]);
#pragma unroll
            for (int i = 0; i < 8; ++i) sum.x[i] = fmaf(d, a.x[i], sum.x[i]);
        }
        __syncthreads();
    }
    Kind f32 = {F32, layer.n_in};
    if (channel < layer.n_in && mine < layer.n_out) write8(dw, mine, channel, f32, narrow(sum, f32));
}
