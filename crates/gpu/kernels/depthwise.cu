// Depthwise convolution with kernels of 3x3 and 5x5 and strides 1 and 2, and of 7x7: forward and backward.
//
//   y[n, i, j, c] = Σ_{u, v} x[n, i·s + u - top, j·s + v - left, c] · w[u, v, c]
//
// Twin of `ops::depthwise`. All are bound by memory if each number is read and activated about once, so a block brings
// a tile to shared memory, through the deferred steps of x or of the gradient, and each lane then computes strips of
// its channel in registers. Forward, a strip is 2 rows of 7 outputs.
//
// Backward, one kernel computes both gradients, since both need the same tile of the gradient g of y:
//
//   dx[i] = Σ_u g[(i + top - u) / s] · w[u],   dw[u] = Σ_i x[i] · g[(i + top - u) / s],
//
// over the taps for which the division is exact (in two dimensions). So x is read once, without a border, used for
// dw, and its place in shared memory is then taken by dx, which is written in vectors of 8 channels.
// Sums stay in registers until a block has had all its tiles. Other kernels, strides and channels are in
// depthwise_any.cu.
#include "depthwise.cuh"

extern __shared__ __align__(16) float shared[];

// Outputs of a strip in a row, forward.
constexpr int STRIP = 7;

// Stores a strip, replaces it by what was stored, and sums it up.
template <class T>
DEVICE void store_strip(void* y, u64 at, u32 n_rows, u32 n_cols, float (&strip)[2][STRIP], float& total, u32 c, u32 ow) {
#pragma unroll
    for (int a = 0; a < 2; ++a) {
        T* to = static_cast<T*>(y) + at;
        u32 n = a < n_rows ? n_cols : 0;
#pragma unroll
        for (int i = 0; i < STRIP; ++i) {
            T stored = to_stored<T>(strip[a][i]);
            strip[a][i] = to_float(stored);
            if (i < n) {
                *to = stored;
                total += strip[a][i];
            }
            to += c;
        }
        at += u64(ow) * c;
    }
}

// - `bias`: [c], or null.
// - `parts`: where not null the moments of y as it is stored: [n_parts][2][c] and the counts.
template <int K, int S>
DEVICE void forward(const void* __restrict__ x, const Prologue& prologue, const void* __restrict__ weight,
                    const float* __restrict__ bias, void* __restrict__ y, float* parts, const Kind& kind,
                    const Geometry& of) {
    constexpr int COLS = (STRIP - 1) * S + K;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 first = blockIdx.x % of.n_groups * 32, channel = first + lane, part = blockIdx.x / of.n_groups;
    u32 rows = (of.tile_h - 1) * S + K, cols = (of.tile_w - 1) * S + K;
    float *taps = shared, *mask = taps + K * K * 32, *tile = mask + padded(rows * cols);
    uint4* raw = reinterpret_cast<uint4*>(tile + padded(rows * cols) * 32);
    copy_taps(weight, taps, K * K, first, kind);

    auto window_of = [&](const Tile& at) {
        return Window{rows, cols, int(at.y * S) - int(of.top), int(at.x * S) - int(of.left), of.h, of.w, at.image};
    };
    auto start_tile = [&](u32 index) {
        start_copy(raw, mask, x, window_of(tile_of(index, of)), first + threadIdx.x % 4 * 8, kind);
        copies_commit();
    };
    float start = bias && channel < kind.c ? bias[channel] : 0.0f;
    Moments own = {0.0f, 0.0f, 0.0f};
    u32 strips_x = of.tile_w / STRIP, n_strips = strips_x * (of.tile_h / 2), n_tiles = of.n * of.tiles_y * of.tiles_x;
    start_tile(part);
    for (u32 index = part; index < n_tiles; index += of.n_parts) {
        Tile at = tile_of(index, of);
        copies_wait<0>();
        __syncthreads(); // The copy is complete, and the last tile is no longer read.
        convert(tile, raw, mask, rows * cols, prologue, lane_of(prologue, at.image, channel, kind), kind.storage);
        __syncthreads();
        if (index + of.n_parts < n_tiles) start_tile(index + of.n_parts);
        for (u32 strip = warp; strip < n_strips; strip += blockDim.x / 32) {
            u32 row = strip / strips_x * 2, col = strip % strips_x * STRIP;
            if (at.y + row >= of.oh || at.x + col >= of.ow) continue;
            float sums[2][STRIP];
#pragma unroll
            for (int i = 0; i < STRIP; ++i) sums[0][i] = sums[1][i] = start;
            const float* from = tile + (row * S * cols + col * S) * 32 + lane;
#pragma unroll
            for (int r = 0; r < K + S; ++r) {
                float xs[COLS];
#pragma unroll
                for (int i = 0; i < COLS; ++i) xs[i] = from[(r * cols + i) * 32];
#pragma unroll
                for (int a = 0; a < 2; ++a) {
                    const int u = r - a * S;
                    if (u < 0 || u >= K) continue;
#pragma unroll
                    for (int v = 0; v < K; ++v) {
                        float tap = taps[(u * K + v) * 32 + lane];
#pragma unroll
                        for (int i = 0; i < STRIP; ++i) sums[a][i] = fmaf(xs[i * S + v], tap, sums[a][i]);
                    }
                }
            }
            u32 n_rows = min(2, of.oh - at.y - row), n_cols = min(STRIP, of.ow - at.x - col);
            u64 to = (u64(at.image * of.oh + at.y + row) * of.ow + at.x + col) * kind.c + channel;
            float total = 0.0f;
            if (channel >= kind.c) n_rows = 0;
            if (kind.storage == F32) store_strip<float>(y, to, n_rows, n_cols, sums, total, kind.c, of.ow);
            else if (kind.storage == BF16) store_strip<bf16>(y, to, n_rows, n_cols, sums, total, kind.c, of.ow);
            else store_strip<f16>(y, to, n_rows, n_cols, sums, total, kind.c, of.ow);
            if (!parts || n_rows == 0) continue;
            float count = float(n_rows * n_cols), mean = total / count, squares = 0.0f;
#pragma unroll
            for (int a = 0; a < 2; ++a) {
#pragma unroll
                for (int i = 0; i < STRIP; ++i) {
                    float apart = a < n_rows && i < n_cols ? sums[a][i] - mean : 0.0f;
                    squares = fmaf(apart, apart, squares);
                }
            }
            own = merge(own, Moments{count, mean, squares});
        }
    }
    if (parts) write_moments(own, tile, parts, part, of.n_parts, channel, kind.c);
}

// The backward pass: `n_parts` blocks of each group of channels share all tiles, and keep sums in registers.
// - `dx`: or null. It is the gradient before the prologue of x without a gate: dx·act'(scale·x + shift); with a gate
//   it is the gradient after it.
// - `d_weights`: where not null, parts [n_parts][K·K][c].
// - `parts`: where not null (without a gate) Σ dx and Σ dx·(x - center) of dx as it is stored: [n_parts][2][c].
template <int K, int S>
DEVICE void backward(const void* __restrict__ x, const Prologue& prologue, const void* __restrict__ g, const GradPrologue& grad,
                     const void* __restrict__ weight, void* __restrict__ dx, float* d_weights, float* parts,
                     const Kind& kind, const Geometry& of) {
    // A strip is 2 rows of WIDE positions of x: at stride 2 these are 4 positions each of both column phases.
    constexpr int WIDE = S == 1 ? 7 : 8, REACH = S == 1 ? K - 1 : (K - 1) / 2;
    constexpr int N_COLS = WIDE / S + REACH, N_ROWS = 2 / S + REACH;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 first = blockIdx.x % of.n_groups * 32, channel = first + lane, part = blockIdx.x / of.n_groups;
    // Positions are counted from the padding's begin, rounded down to a multiple of the stride: a phase of x then has
    // the same taps everywhere. Tiles are in units of the stride, as g is.
    u32 before_y = of.top / S, before_x = of.left / S;
    u32 rows = of.tile_h + REACH, cols = of.tile_w + REACH, own_rows = of.tile_h * S, own_cols = of.tile_w * S;
    u32 strips_x = own_cols / WIDE, n_strips = strips_x * (own_rows / 2);
    u32 n_own = own_rows * own_cols, n_grads = rows * cols;
    float *taps = shared, *own_mask = taps + K * K * 32, *mask = own_mask + padded(n_own);
    float *own = mask + padded(n_grads), *tile = own + padded(n_own) * 32;
    // As they are stored: g, what its norm was applied to, and x of this tile and of the next.
    uint4* raw_g = reinterpret_cast<uint4*>(tile + padded(n_grads) * 32);
    uint4* raw_z = raw_g + raw_length(n_grads, kind);
    uint4* raw_x = grad.z ? raw_z + raw_length(n_grads, kind) : raw_z;
    uint4* raw_next = raw_x + raw_length(n_own, kind);
    copy_taps(weight, taps, K * K, first, kind);

    auto gradients_of = [&](const Tile& at) {
        return Window{rows, cols, int(before_y + at.y) - REACH, int(before_x + at.x) - REACH, of.oh, of.ow, at.image};
    };
    // The first position of x may lie before the map.
    auto own_of = [&](const Tile& at) {
        int y = int((before_y + at.y) * S) - int(of.top), x = int((before_x + at.x) * S) - int(of.left);
        return Window{own_rows, own_cols, y, x, of.h, of.w, at.image};
    };
    auto start_tile = [&](u32 index) {
        Tile at = tile_of(index, of);
        u32 channels = first + threadIdx.x % 4 * 8;
        start_copy(raw_g, mask, g, gradients_of(at), channels, kind);
        if (grad.z) start_copy(raw_z, nullptr, grad.z, gradients_of(at), channels, kind);
        start_copy(raw_next, own_mask, x, own_of(at), channels, kind);
        copies_commit();
    };

    float dw[K * K], sums[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < K * K; ++i) dw[i] = 0.0f;
    u32 n_tiles = of.n * of.tiles_y * of.tiles_x;
    start_tile(part);
    for (u32 index = part; index < n_tiles; index += of.n_parts) {
        Tile at = tile_of(index, of);
        Window window = own_of(at);
        uint4* swap = raw_x;
        raw_x = raw_next;
        raw_next = swap;
        copies_wait<0>();
        __syncthreads(); // The copies are complete, and the last tile is no longer read.
        PrologueLane prologue_lane = lane_of(prologue, at.image, channel, kind);
        GradLane grad_lane = lane_of(grad, at.image, channel, kind);
        convert(tile, raw_g, raw_z, mask, n_grads, grad, grad_lane, kind.storage);
        convert(own, raw_x, own_mask, n_own, prologue, prologue_lane, kind.storage);
        __syncthreads();
        if (index + of.n_parts < n_tiles) start_tile(index + of.n_parts);
        for (u32 strip = warp; strip < n_strips; strip += blockDim.x / 32) {
            u32 row = strip / strips_x * 2, col = strip % strips_x * WIDE;
            float* here = own + (row * own_cols + col) * 32 + lane;
            const float* from = tile + (row / S * cols + col / S) * 32 + lane;
            float xs[2][WIDE], ds[2][WIDE];
#pragma unroll
            for (int a = 0; a < 2; ++a) {
#pragma unroll
                for (int i = 0; i < WIDE; ++i) {
                    xs[a][i] = here[(a * own_cols + i) * 32];
                    ds[a][i] = 0.0f;
                }
            }
#pragma unroll
            for (int r = 0; r < N_ROWS; ++r) {
                float gs[N_COLS];
#pragma unroll
                for (int i = 0; i < N_COLS; ++i) gs[i] = from[(r * cols + i) * 32];
#pragma unroll
                for (int a = 0; a < 2; ++a) {
                    // g's row r is REACH before that of x's row a where u = 0; each row less is a stride of u more.
                    const int u = (REACH + a / S - r) * S + a % S;
                    if (u < 0 || u >= K) continue;
#pragma unroll
                    for (int v = 0; v < K; ++v) {
                        float tap = taps[(u * K + v) * 32 + lane];
#pragma unroll
                        for (int i = 0; i < WIDE / S; ++i) {
                            const float d = gs[i + REACH - v / S];
                            const int place = i * S + v % S;
                            ds[a][place] = fmaf(d, tap, ds[a][place]);
                            dw[u * K + v] = fmaf(d, xs[a][place], dw[u * K + v]);
                        }
                    }
                }
            }
#pragma unroll
            for (int a = 0; a < 2; ++a) {
#pragma unroll
                for (int i = 0; i < WIDE; ++i) here[(a * own_cols + i) * 32] = ds[a][i];
            }
        }
        if (!dx) continue;
        __syncthreads();
        bool is_before = !prologue.gate && prologue.activation != NONE;
        for (u32 first_at = warp * ABREAST; first_at < n_own; first_at += blockDim.x / 32 * ABREAST) {
            if (channel >= kind.c) break;
            float d[ABREAST], z[ABREAST], u[ABREAST];
            read_few(raw_x, first_at, z, kind.storage);
#pragma unroll
            for (int i = 0; i < ABREAST; ++i) {
                d[i] = own[(first_at + i) * 32 + lane];
                u[i] = fmaf(prologue_lane.scale, z[i], prologue_lane.shift);
            }
            if (is_before) {
                slope_each(prologue.activation, u);
#pragma unroll
                for (int i = 0; i < ABREAST; ++i) d[i] *= u[i];
            }
            u64 places[ABREAST];
            bool is_there[ABREAST];
            u32 row = first_at / own_cols, col = first_at % own_cols;
#pragma unroll
            for (int i = 0; i < ABREAST; ++i) {
                is_there[i] = row < own_rows && window.has_row(row) && window.has_col(col);
                places[i] = u64(window.row_of(row, col)) * kind.c + channel;
                bool is_last = ++col == own_cols;
                row += is_last;
                col = is_last ? 0 : col;
            }
            if (kind.storage == F32) write_few<float>(dx, places, d, is_there);
            else if (kind.storage == BF16) write_few<bf16>(dx, places, d, is_there);
            else write_few<f16>(dx, places, d, is_there);
#pragma unroll
            for (int i = 0; i < ABREAST; ++i) {
                d[i] = is_there[i] ? d[i] : 0.0f;
                sums[0] += d[i];
                sums[1] = fmaf(d[i], z[i] - prologue_lane.center, sums[1]);
            }
        }
    }
    if (parts) write_sums<2>(sums, own, parts + u64(part) * 2 * kind.c + channel, kind.c, channel < kind.c);
    if (!d_weights) return;
#pragma unroll
    for (int u = 0; u < K; ++u) {
        float row[K];
#pragma unroll
        for (int v = 0; v < K; ++v) row[v] = dw[u * K + v];
        write_sums<K>(row, own, d_weights + (u64(part) * K + u) * K * kind.c + channel, kind.c, channel < kind.c);
    }
}

// MIN: blocks of the backward pass on a multiprocessor at once, for the compiler's registers; of the forward pass 4.
#define KERNELS(K, S, MIN)                                                                                             \
    extern "C" __global__ void __launch_bounds__(MOST_WARPS * 32, 4)                                                   \
    depthwise_##K##_##S(const void* x, Prologue prologue, const void* weight, const float* bias, void* y, float* parts,        \
                        Kind kind, Geometry of) {                                                                      \
        forward<K, S>(x, prologue, weight, bias, y, parts, kind, of);                                                      \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(MOST_WARPS * 32, MIN)                                                 \
    depthwise_backward_##K##_##S(const void* x, Prologue prologue, const void* g, GradPrologue grad, const void* weight, void* dx, \
                                 float* d_weights, float* parts, Kind kind, Geometry of) {                             \
        backward<K, S>(x, prologue, g, grad, weight, dx, d_weights, parts, kind, of);                                      \
    }

KERNELS(3, 1, 3)
KERNELS(3, 2, 3)
KERNELS(5, 1, 2)
KERNELS(5, 2, 2)
KERNELS(7, 1, 1)
