// Convolutions with a dense window, without an im2col buffer: see `job.cuh`. Also 1x1 products of f32, and of
// channels that are no multiple of 8.
#include "kernel.cuh"

using Large = Shape<two, 128, 128, 2, 4>;
using Small = Shape<two, 64, 64, 2, 2>;
using SmallF32 = Shape<float, 64, 64, 2, 2>;

// Channels in multiples of 8.
KERNEL(conv_forward_128x128, Large, FORWARD, true, true, 2)
KERNEL(conv_input_128x128, Large, INPUT, true, true, 2)

// Any channels: eight at a time where they are a multiple of 8.
KERNEL(conv_forward_any, Small, FORWARD, true, false, 4)
KERNEL(conv_input_any, Small, INPUT, true, false, 3)
KERNEL(conv_weight_any, Small, WEIGHT, true, false, 4)
KERNEL(conv_forward_f32, SmallF32, FORWARD, true, false, 4)
KERNEL(conv_input_f32, SmallF32, INPUT, true, false, 3)
KERNEL(conv_weight_f32, SmallF32, WEIGHT, true, false, 4)
