// 1x1 convolutions and linear layers over rows of channels in multiples of 8, stored in two bytes; sums of parts.
//
//   Y = prologue(X)·Wᵀ, dX = prologue(G)·W, dW = prologue(G)ᵀ·prologue(X): see `job.cuh`.
//
// Other channels, f32 and windows are in `conv.cu`; the launches are in `job.rs`.
#include "kernel.cuh"

using Large = Shape<two, 128, 128, 2, 4>;
using Narrow = Shape<two, 128, 32, 4, 1>;
using Small = Shape<two, 64, 64, 2, 2>;

KERNEL(product_forward_128x128, Large, FORWARD, false, true, 2)
KERNEL(product_forward_128x32, Narrow, FORWARD, false, true, 4)
KERNEL(product_forward_64x64, Small, FORWARD, false, true, 4)
KERNEL(product_input_128x128, Large, INPUT, false, true, 2)
KERNEL(product_input_128x32, Narrow, INPUT, false, true, 4)
KERNEL(product_input_64x64, Small, INPUT, false, true, 4)
KERNEL(product_weight_128x128, Large, WEIGHT, false, true, 2)
KERNEL(product_weight_64x64, Small, WEIGHT, false, true, 4)

// out[i] = Σ_p parts[p][i], in order.
extern "C" __global__ void __launch_bounds__(128) sum_parts(const float* parts, float* out, u32 n, u32 length) {
    u32 i = blockIdx.x * 128 + threadIdx.x;
    if (i >= length) return;
    float total = 0.0f;
#pragma unroll 8
    for (u32 p = 0; p < n; ++p) total += parts[u64(p) * length + i];
    out[i] = total;
}
