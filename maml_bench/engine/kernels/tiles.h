// Products of small matrices whose sums stay in registers: what every convolution here is made of.

#pragma once

#include "lanes.h"

namespace {

// ---- The tile: P pixels by W vectors of result channels, summed over taps and source channels, in registers.

template <class S, int P, int W>
inline void tile(
    const S* const* source, const long* offsets, const int* taps, int count, long depth, const S* filter, long tap_step,
    long row_step, S* const* target
) {
    V<S> sum[P][W] = {};
    for (int t = 0; t < count; ++t) {
        const S* from[P];
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) from[p] = source[p] + offsets[t];
        const S* row = filter + taps[t] * tap_step;
        for (long k = 0; k < depth; ++k, row += row_step) {
            V<S> weight[W];
#pragma GCC unroll 8
            for (int w = 0; w < W; ++w) weight[w] = at(row + w * Lanes<S>::n);
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
                for (int w = 0; w < W; ++w) sum[p][w] += weight[w] * from[p][k];
            }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
        for (int w = 0; w < W; ++w) at(target[p] + w * Lanes<S>::n) = sum[p][w];
}

template <class S, int W, int P = kAccumulators / W>
inline void tile_of(
    int pixels, const S* const* source, const long* offsets, const int* taps, int count, long depth, const S* filter,
    long tap_step, long row_step, S* const* target
) {
    if constexpr (P > 0) {
        if (pixels == P)
            tile<S, P, W>(source, offsets, taps, count, depth, filter, tap_step, row_step, target);
        else
            tile_of<S, W, P - 1>(pixels, source, offsets, taps, count, depth, filter, tap_step, row_step, target);
    }
}

// Most vectors of one tile: four where registers allow, which reads each source value least often.
constexpr int kWide = kAccumulators == 24 ? 4 : 2;

template <class S, class F>
inline void over_vectors(long channels, F call) {
    long c = 0;
    for (; c + kWide * Lanes<S>::n <= channels; c += kWide * Lanes<S>::n) call(std::integral_constant<int, kWide>(), c);
    for (; c + 2 * Lanes<S>::n <= channels; c += 2 * Lanes<S>::n) call(std::integral_constant<int, 2>(), c);
    for (; c < channels; c += Lanes<S>::n) call(std::integral_constant<int, 1>(), c);
}

// to[row, channel] = sum over k of from[row, k] * factor[k, channel].
template <class S>
void multiply(long rows, long depth, long channels, const S* from, const S* factor, S* to) {
    const long none = 0;
    const int only = 0;
    over_vectors<S>(channels, [&](auto wide, long channel) {
        constexpr int W = decltype(wide)::value, most = std::min(kPixels, kAccumulators / W);
        const long tiles = (rows + most - 1) / most, each = (rows + tiles - 1) / tiles;
        for (long row = 0; row < rows; row += each) {
            const int here = int(std::min(each, rows - row));
            const S* source[kPixels];
            S* target[kPixels];
            for (int p = 0; p < here; ++p) {
                source[p] = from + (row + p) * depth;
                target[p] = to + (row + p) * channels + channel;
            }
            tile_of<S, W, most>(here, source, &none, &only, 1, depth, factor + channel, 0, channels, target);
        }
    });
}

// ---- The filters' derivative: rows (source channels) by vectors (result channels), summed over pixels.

template <class S, int R, int W>
inline void outer(const S* x, long x_step, const S* g, long g_step, long pixels, V<S> (&sum)[R][W]) {
    for (long p = 0; p < pixels; ++p, x += x_step, g += g_step) {
        V<S> right[W];
#pragma GCC unroll 8
        for (int w = 0; w < W; ++w) right[w] = at(g + w * Lanes<S>::n);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
            for (int w = 0; w < W; ++w) sum[r][w] += right[w] * x[r];
        }
    }
}

template <class S, int W, int R, class F>
inline void rows_of(long rows, S* target, long step, bool add, F sweep) {
    if constexpr (R > 0) {
        if (rows == R) {
            V<S> sum[R][W] = {};
            sweep(sum);
            for (int r = 0; r < R; ++r)
                for (int w = 0; w < W; ++w) {
                    V<S>& to = at(target + r * step + w * Lanes<S>::n);
                    to = add ? to + sum[r][w] : sum[r][w];
                }
        } else
            rows_of<S, W, R - 1>(rows, target, step, add, sweep);
    }
}

// Puts into target[row, channel], or adds to it, in blocks of registers what `sweep` sums up.
template <class S, class F>
inline void outer_rows(long depth, S* target, long channels, bool add, F sweep) {
    over_vectors<S>(channels, [&](auto wide, long channel) {
        constexpr int W = decltype(wide)::value, most = std::min(kPixels, kAccumulators / W);
        const long blocks = (depth + most - 1) / most, each = (depth + blocks - 1) / blocks;
        for (long row = 0; row < depth; row += each)
            rows_of<S, W, most>(std::min(each, depth - row), target + row * channels + channel, channels, add, [&](auto& sum) {
                sweep(row, channel, sum);
            });
    });
}

// Transposes a square of vectors in registers: blocks swap places, then the blocks in them, and so on.
template <class S, int step, std::size_t... lane>
inline void swap_blocks(V<S>* row, std::index_sequence<lane...>) {
    constexpr int n = Lanes<S>::n;
    for (int i = 0; i < n; ++i)
        if (!(i & step)) {
            const V<S> a = row[i], b = row[i + step];
            row[i] = __builtin_shufflevector(a, b, (lane & step ? int(lane) - step + n : int(lane))...);
            row[i + step] = __builtin_shufflevector(a, b, (lane & step ? int(lane) + n : int(lane) + step)...);
        }
    if constexpr (step > 1) swap_blocks<S, step / 2>(row, std::index_sequence<lane...>());
}

// turned[column, row] = w[row, column]; both sizes are multiples of the vector.
template <class S>
void transpose(long rows, long columns, const S* w, S* turned) {
    constexpr int n = Lanes<S>::n;
    for (long i = 0; i < rows; i += n)
        for (long j = 0; j < columns; j += n) {
            V<S> block[n];
            for (int k = 0; k < n; ++k) block[k] = at(w + (i + k) * columns + j);
            swap_blocks<S, n / 2>(block, std::make_index_sequence<n>());
            for (int k = 0; k < n; ++k) at(turned + (j + k) * rows + i) = block[k];
        }
}

}  // namespace
