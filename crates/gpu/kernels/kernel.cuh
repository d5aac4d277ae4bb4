// The loop of all products: copies of STAGES tiles are under way while one is multiplied.
#pragma once
#include "epilogue.cuh"
#include "multiply.cuh"

// A row of the tile: the first line and column of the map that it sees, its image, its row of the output.
template <int PASS> DEVICE int4 row_of_table(const Job& job, u32 row, bool is_there, u32 py, u32 px, u32 ph, u32 pw, u32 y0, u32 x0) {
    const Window& win = job.window;
    // A row beyond the last sees nothing.
    if (!is_there) return make_int4(-(1 << 30), -(1 << 30), 0, 0);
    if (PASS == FORWARD) {
        u32 image = divide(row, job.area), rest = row - image * job.area.by;
        u32 y = divide(rest, job.width), x = rest - y * job.width.by;
        return make_int4(int(y * win.stride) - int(win.top), int(x * win.stride) - int(win.left), int(image), int(row));
    }
    u32 image = row / (ph * pw), rest = row % (ph * pw), y = rest / pw, x = rest % pw;
    u32 at = (image * win.h + y * win.stride + py) * win.w + x * win.stride + px;
    return make_int4(int(y + (py + win.top - y0) / win.stride), int(x + (px + win.left - x0) / win.stride), int(image), int(at));
}

// Blocks: x = tile of rows · tiles of columns + tile of columns; y = product; z = phase of the input's gradient (the
// positions `stride` apart that the same taps see), or part of the rows that the weight's gradient sums over.
template <class S, int PASS, bool TAPS, bool WHOLE> DEVICE void run(const Job& job) {
    using T = typename S::T;
    using O = Operands<S, PASS, TAPS, WHOLE>;
    extern __shared__ uint4 shared[];
    constexpr bool HAS_TABLE = TAPS && PASS != WEIGHT;
    O block(job);
    u32 row_tile = divide(blockIdx.x, job.column_tiles);
    block.column = (blockIdx.x - row_tile * job.column_tiles.by) * S::BN;
    block.product = blockIdx.y;
    block.table = reinterpret_cast<const int4*>(shared);
    block.ny = TAPS ? job.window.kh : 1;
    block.nx = TAPS ? job.window.kw : 1;
    block.tap_y = block.tap_x = 0;
    block.tap_step = 1;
    u32 n_k, part = 0, py = 0, px = 0, ph = 0, pw = 0;
    if (PASS == WEIGHT) {
        block.m0 = row_tile * S::BM;
        block.first = blockIdx.z * job.split_rows;
        block.end = min(block.first + job.split_rows, job.n_rows);
        block.columns = block.ny * block.nx * job.wide_in;
        n_k = (block.end - block.first + S::BK - 1) / S::BK;
    } else {
        u32 rows = job.n_rows, inner = PASS == FORWARD ? job.wide_in : job.wide_out, group_rows = rows;
        if (PASS == INPUT && TAPS) {
            const Window& win = job.window;
            py = blockIdx.z / win.stride;
            px = blockIdx.z % win.stride;
            block.tap_step = win.stride;
            block.tap_y = (py + win.top) % win.stride;
            block.tap_x = (px + win.left) % win.stride;
            // Positions and taps of this phase: there may be none.
            ph = win.h > py ? (win.h - py - 1) / win.stride + 1 : 0;
            pw = win.w > px ? (win.w - px - 1) / win.stride + 1 : 0;
            block.ny = win.kh > block.tap_y ? (win.kh - block.tap_y - 1) / win.stride + 1 : 0;
            block.nx = win.kw > block.tap_x ? (win.kw - block.tap_x - 1) / win.stride + 1 : 0;
            group_rows = rows = job.n_images * ph * pw;
        }
        if (PASS == INPUT && job.is_by_image) group_rows = TAPS ? ph * pw : job.area.by;
        u32 group = divide(row_tile, job.group_tiles), within = (row_tile - group * job.group_tiles.by) * S::BM;
        block.m0 = 0;
        block.first = group * group_rows + min(within, group_rows);
        block.end = group * group_rows + min(within + S::BM, group_rows);
        block.columns = PASS == FORWARD ? job.wide_out : job.wide_in;
        n_k = (block.ny * block.nx * inner + S::BK - 1) / S::BK;
        part = (group * gridDim.z + blockIdx.z) * job.group_tiles.by + row_tile - group * job.group_tiles.by;
    }
    char* base = reinterpret_cast<char*>(shared);
    if (HAS_TABLE) {
        int4* table = reinterpret_cast<int4*>(shared);
        for (int r = threadIdx.x; r < S::BM; r += S::THREADS)
            table[r] = row_of_table<PASS>(job, block.first + r, block.first + r < block.end, py, px, ph, pw, block.tap_y, block.tap_x);
        __syncthreads();
        base += S::BM * sizeof(int4);
    }
    bool has_z = PASS != FORWARD && job.grad.z;
    T* tiles = reinterpret_cast<T*>(base);
    int stage = O::A_TILE + O::B_TILE + (has_z ? O::A_TILE : 0);
    auto a_of = [&](int s) { return tiles + s * stage; };

    Place a_load = block.a_begin(), b_load = block.b_begin();
    Place a_read = a_load, b_read = b_load;
    auto load = [&](int k) {
        if (k < int(n_k)) {
            T* a = a_of(k % S::STAGES);
            u32 k0 = block.first + k * S::BK;
            block.a_load(a, a + O::A_TILE + O::B_TILE, a_load, k0);
            block.b_load(a + O::A_TILE, b_load, k0);
            block.a_advance(a_load);
            block.b_advance(b_load);
        }
        copies_commit();
    };
    Product<S, O::A_LAST, O::B_LAST> product;
    product.clear();
#pragma unroll 1
    for (int k = 1 - S::STAGES; k < int(n_k); ++k) {
        T* a = a_of(k % S::STAGES);
        if (k >= 0) {
            copies_wait<S::STAGES - 2>();
            u32 k0 = block.first + k * S::BK;
            block.a_through(a, a + O::A_TILE + O::B_TILE, a_read, k0);
            block.b_through(a + O::A_TILE, b_read, k0);
            block.a_advance(a_read);
            block.b_advance(b_read);
            // The tile is complete, and all have multiplied the previous one, whose place the next copy takes.
            __syncthreads();
        }
        load(k + S::STAGES - 1);
        if (k >= 0) product.add(a, a + O::A_TILE, block.codec);
    }
    copies_wait<0>();
    __syncthreads();
    float* results = reinterpret_cast<float*>(base);
    product.put(results);
    Finish<O, PASS, TAPS, WHOLE> finish(job, block);
    // Each begins with a barrier, after it has asked for what it reads.
    if constexpr (PASS == FORWARD) finish.forward(results, part);
    if constexpr (PASS == INPUT) finish.input(results, part);
    if constexpr (PASS == WEIGHT) finish.weight(results, blockIdx.z);
}

#define KERNEL(name, shape, pass, taps, whole, blocks)                                             \
    extern "C" __global__ void __launch_bounds__(shape::THREADS, blocks) name(const Job job) {      \
        run<shape, pass, taps, whole>(job);                                                         \
    }
