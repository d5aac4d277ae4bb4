// The parameters of a product of matrices, as all of its passes take them, and the shapes of its tiles.
//
// Rows are positions of an image (1x1 convolution, linear layer) or what a window sees from them (k x k):
//
//   forward:  Y[m, o]      = Σ_{tap, i} prologue(X)[m at tap, i]·W[o, tap, i]
//   input:    dX[m, i]     = Σ_{tap, o} prologue(G)[m at tap, o]·W[o, tap, i]
//   weight:   dW[o, tap, i] = Σ_m prologue(G)[m, o]·prologue(X)[m at tap, i]
//
// A convolution is the same product, whose rows are gathered while they are read: "implicit GEMM", Chetlur et al.,
// "cuDNN: Efficient Primitives for Deep Learning", 2014, <https://arxiv.org/abs/1410.0759>.
// Groups: an output sees the inputs of its group alone. Neighbouring narrow groups are merged to one product, whose
// weight has zeros between groups.
#pragma once
#include "codec.cuh"

enum Pass { FORWARD, INPUT, WEIGHT };

// A window of kh x kw on a map of h x w, with `top` and `left` zeros before it: oh x ow outputs.
struct Window { u32 h, w, oh, ow, kh, kw, stride, top, left; };

// The mirror in Rust is `job.rs`.
struct Job {
    const void* x;
    const void* g;
    const void* weight; // [n_out][kh][kw][group_in]
    void* out;          // stored numbers; f32 for the weight's gradient
    const float* scale; // [n_out], epilogue of the forward pass
    const float* shift; // [n_out]
    const void* plus;   // of the shape of `out`: added before the activation
    float* parts;       // partial moments or sums by tile of rows
    Prologue prologue;
    GradPrologue grad;
    Window window;
    Divisor area;        // rows of an image
    Divisor width;       // rows of a line of an image
    Divisor width_in;    // channels of X of a product: `wide_in`
    Divisor column_tiles;
    Divisor group_tiles; // tiles of rows of a group of rows
    u32 n_rows;          // the rows, or of the input's gradient those of its map
    u32 n_images;
    u32 n_in, n_out;
    u32 group_in, group_out;   // channels of a group
    u32 wide_in, wide_out;     // channels of a product: one group, or several merged
    u32 activation;            // epilogue of the forward pass
    u32 is_by_image;           // tiles of rows do not cross images, and the sums are the five of a gate
    u32 n_parts;
    u32 storage;               // as `Storage`
    u32 split_rows;            // weight's gradient: rows of a partial sum
};

// Tiles of BM x BN results by WARPS_M x WARPS_N warps, over BK numbers at a time, in STAGES buffers.
template <class T_, int BM_, int BN_, int WARPS_M_, int WARPS_N_> struct Shape {
    using T = T_;
    static constexpr bool F32 = Is<T>::f32;
    static constexpr int BM = BM_, BN = BN_, WARPS_M = WARPS_M_, WARPS_N = WARPS_N_;
    static constexpr int THREADS = 32 * WARPS_M * WARPS_N;
    static constexpr int BK = F32 ? 16 : 32, STAGES = 3;
    // So that rows begin in other banks of shared memory.
    static constexpr int PAD = 16 / sizeof(T);
    // Numbers of a tile of `outer` rows or columns whose last dimension is the one that is summed over, or not.
    template <bool K_LAST, int OUTER> static constexpr int PITCH = (K_LAST ? BK : OUTER) + PAD;
    template <bool K_LAST, int OUTER> static constexpr int TILE = PITCH<K_LAST, OUTER> * (K_LAST ? OUTER : BK);
    static constexpr int PITCH_OUT = BN + 4;
    // FFMA: results of a thread.
    static constexpr int TM = 8, TN = 4;
};
