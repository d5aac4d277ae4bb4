// Products of two tiles in shared memory: by matrix units for 2-byte numbers, by fused multiply-adds for f32, which
// so are exact to rounding (no TF32).
#pragma once
#include "job.cuh"

// A_LAST, B_LAST: whether the summed dimension is the last of A's tile ([m][k], otherwise [k][m]), and of B's
// ([n][k], otherwise [k][n]).
template <class S, bool A_LAST, bool B_LAST, bool F32 = S::F32> struct Product;

// m16n8k16 of the matrix units.
template <class S, bool A_LAST, bool B_LAST> struct Product<S, A_LAST, B_LAST, false> {
    using T = typename S::T;
    static constexpr int WM = S::BM / S::WARPS_M, WN = S::BN / S::WARPS_N, MI = WM / 16, NI = WN / 8;
    float sums[MI][NI][4];

    DEVICE void clear() {
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
            for (int j = 0; j < NI; ++j)
#pragma unroll
                for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
    }
    DEVICE void add(const T* a, const T* b, const Codec<T>& codec) {
        if (codec.is_half) add_of<f16>(a, b);
        else add_of<bf16>(a, b);
    }
    template <class N> DEVICE void add_of(const T* a, const T* b) {
        constexpr int PA = S::template PITCH<A_LAST, S::BM>, PB = S::template PITCH<B_LAST, S::BN>;
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        int m0 = warp / S::WARPS_N * WM, n0 = warp % S::WARPS_N * WN;
        int row = lane % 8, matrix = lane / 8;
#pragma unroll
        for (int k = 0; k < S::BK; k += 16) {
            u32 as[MI][4];
#pragma unroll
            for (int i = 0; i < MI; ++i) {
                int m = m0 + 16 * i + matrix % 2 * 8, at = k + matrix / 2 * 8;
                if (A_LAST) load_matrices(as[i], a + (m + row) * PA + at);
                else load_matrices_transposed(as[i], a + (at + row) * PA + m);
            }
#pragma unroll
            for (int j = 0; j < NI; j += 2) {
                u32 bs[4];
                int n = n0 + 8 * j + matrix / 2 * 8, at = k + matrix % 2 * 8;
                if (B_LAST) load_matrices(bs, b + (n + row) * PB + at);
                else load_matrices_transposed(bs, b + (at + row) * PB + n);
#pragma unroll
                for (int i = 0; i < MI; ++i) {
                    multiply_add<N>(sums[i][j], as[i], bs[0], bs[1]);
                    multiply_add<N>(sums[i][j + 1], as[i], bs[2], bs[3]);
                }
            }
        }
    }
    // Writes the results to shared memory, [BM][PITCH_OUT].
    DEVICE void put(float* to) {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        int m0 = warp / S::WARPS_N * WM + lane / 4, n0 = warp % S::WARPS_N * WN + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
            for (int j = 0; j < NI; ++j)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float* at = to + (m0 + 16 * i + 8 * half) * S::PITCH_OUT + n0 + 8 * j;
                    *reinterpret_cast<float2*>(at) = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                }
    }
};

// f32: each thread has TM x TN results. Where a tile's last dimension is the summed one, a thread's rows lie apart,
// so that neighbouring threads read other banks; otherwise they are neighbours, and are read as vectors.
template <class S, bool A_LAST, bool B_LAST> struct Product<S, A_LAST, B_LAST, true> {
    static constexpr int TM = S::TM, TN = S::TN, MS = S::BM / TM, NS = S::BN / TN;
    static_assert(MS * NS == S::THREADS, "each thread has results of its own");
    float sums[TM][TN];

    DEVICE void clear() {
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j) sums[i][j] = 0.0f;
    }
    template <bool LAST, int N, int APART> DEVICE static int place(int thread, int i) {
        return LAST ? thread + APART * i : thread * N + i;
    }
    // Numbers `k..k + 4` of N rows: v[row][k].
    template <bool LAST, int N, int APART> DEVICE static void read(float (&v)[N][4], const float* tile, int pitch, int thread, int k) {
        if (LAST) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                float4 it = *reinterpret_cast<const float4*>(tile + place<LAST, N, APART>(thread, i) * pitch + k);
                v[i][0] = it.x; v[i][1] = it.y; v[i][2] = it.z; v[i][3] = it.w;
            }
        } else {
#pragma unroll
            for (int j = 0; j < 4; ++j)
#pragma unroll
                for (int i = 0; i < N; i += 4) {
                    float4 it = *reinterpret_cast<const float4*>(tile + (k + j) * pitch + thread * N + i);
                    v[i][j] = it.x; v[i + 1][j] = it.y; v[i + 2][j] = it.z; v[i + 3][j] = it.w;
                }
        }
    }
    DEVICE void add(const float* a, const float* b, const Codec<float>&) {
        int tm = threadIdx.x / NS, tn = threadIdx.x % NS;
#pragma unroll 1
        for (int k = 0; k < S::BK; k += 4) {
            float as[TM][4], bs[TN][4];
            read<A_LAST, TM, MS>(as, a, S::template PITCH<A_LAST, S::BM>, tm, k);
            read<B_LAST, TN, NS>(bs, b, S::template PITCH<B_LAST, S::BN>, tn, k);
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
                for (int i = 0; i < TM; ++i)
#pragma unroll
                    for (int j = 0; j < TN; ++j) sums[i][j] = fmaf(as[i][e], bs[j][e], sums[i][j]);
        }
    }
    DEVICE void put(float* to) {
        int tm = threadIdx.x / NS, tn = threadIdx.x % NS;
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j)
                to[place<A_LAST, TM, MS>(tm, i) * S::PITCH_OUT + place<B_LAST, TN, NS>(tn, j)] = sums[i][j];
    }
};
