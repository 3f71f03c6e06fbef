// Products of small matrices whose lengths and strides are known to the compiler.

#pragma once

#include "lanes.h"

namespace {

template <class S, int L>
struct Vector {
    typedef S V __attribute__((vector_size(L * sizeof(S)), aligned(sizeof(S)), may_alias));
};

// R rows and W vectors of L entries of the result: c[r][n] = sum over k of a[r * AM + k * AK] * b[k * BK + n]
template <class S, int L, int W, int R, int K, int AM, int AK, int BK, int CM>
inline __attribute__((always_inline)) void tile(const S* a, const S* b, S* c) {
    using V = typename Vector<S, L>::V;
    V sum[R][W] = {};
    for (int k = 0; k < K; ++k) {
        V row[W];
#pragma GCC unroll 8
        for (int w = 0; w < W; ++w) row[w] = *reinterpret_cast<const V*>(b + k * BK + w * L);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const S x = a[r * AM + k * AK];
#pragma GCC unroll 8
            for (int w = 0; w < W; ++w) sum[r][w] += x * row[w];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int w = 0; w < W; ++w) *reinterpret_cast<V*>(c + r * CM + w * L) = sum[r][w];
}

// all M rows of W vectors of L columns
template <class S, int L, int W, int M, int K, int AM, int AK, int BK, int CM>
inline void panel(const S* a, const S* b, S* c) {
    constexpr int most = kAccumulators / W < 8 ? kAccumulators / W : 8, R = M < most ? M : most, rest = M % R;
    for (int m = 0; m + R <= M; m += R) tile<S, L, W, R, K, AM, AK, BK, CM>(a + m * AM, b, c + m * CM);
    if constexpr (rest > 0)
        tile<S, L, W, rest, K, AM, AK, BK, CM>(a + (M - rest) * AM, b, c + (M - rest) * CM);
}

// columns in panels of up to three vectors, then what is left in vectors of half the length, down to single entries
template <class S, int L, int M, int N, int K, int AM, int AK, int BK, int CM>
inline void columns(const S* a, const S* b, S* c) {
    constexpr int W = N / L < 3 ? N / L : 3;
    if constexpr (W > 0) {
        panel<S, L, W, M, K, AM, AK, BK, CM>(a, b, c);
        if constexpr (N > W * L) columns<S, L, M, N - W * L, K, AM, AK, BK, CM>(a, b + W * L, c + W * L);
    } else {
        columns<S, L / 2, M, N, K, AM, AK, BK, CM>(a, b, c);
    }
}

// c [M, N] = a [M, K] b [K, N]; the rows of b and c are contiguous
template <class S, int M, int N, int K, int AM, int AK, int BK, int CM>
inline void product(const S* __restrict a, const S* __restrict b, S* __restrict c) {
    if constexpr (N == 1) {
        for (int m = 0; m < M; ++m) {
            S sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int k = 0; k < K; ++k) sum += a[m * AM + k * AK] * b[k * BK];
            c[m * CM] = sum;
        }
    } else {
        columns<S, Lanes<S>::n, M, N, K, AM, AK, BK, CM>(a, b, c);
    }
}

}  // namespace
