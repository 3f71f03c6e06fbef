// 3x3 convolution, padding 1, stride 1, by minimal filtering (Winograd's), and its derivative in the filters.
//
// A tile of 2x2 results is A' [(G w G') * (B' d B)] A, where d are the 4x4 source values below it, w is the filter and
// * multiplies entry by entry: F(2x2, 3x3) of Lavin & Gray 2016, section 4.1. Summed over channels these are 16
// products of matrices, one for each entry, with 16 multiplications where the definition has 36. The derivative in w is
// G' [(A g A') * (B' d B)] G, where g is the gradient of the tile.

#pragma once

#include "direct.h"

namespace {

constexpr int kEntries = 16;  // of a tile of 4x4

// Whether it is faster than the definition, which leaves out products with padding. Odd sizes have tiles that stick out.
inline bool by_tiles(const Size& s) {
    const long down = (s.high + 1) / 2, across = (s.wide + 1) / 2;
    return s.stride == 1 && s.in >= kFew && 5 * kEntries * down * across <= 4 * (3 * s.high - 2) * (3 * s.wide - 2);
}

// ---- The transforms: `line` takes From values to To values, first down the columns of a square, then along its rows.

template <class S, int From, int To, class F>
inline void both_ways(const V<S>* in, V<S>* out, F line) {
    V<S> half[To * From];
#pragma GCC unroll 4
    for (int j = 0; j < From; ++j) line(in + j, half + j, From, From);
#pragma GCC unroll 4
    for (int i = 0; i < To; ++i) line(half + i * From, out + i * To, 1, 1);
}

template <class S>
inline void source_line(const V<S>* d, V<S>* out, int step, int to) {  // B'
    out[0] = d[0] - d[2 * step], out[to] = d[step] + d[2 * step];
    out[2 * to] = d[2 * step] - d[step], out[3 * to] = d[step] - d[3 * step];
}

template <class S>
inline void result_line(const V<S>* m, V<S>* out, int step, int to) {  // A'
    out[0] = m[0] + m[step] + m[2 * step], out[to] = m[step] - m[2 * step] - m[3 * step];
}

template <class S>
inline void gradient_line(const V<S>* g, V<S>* out, int step, int to) {  // A
    out[0] = g[0], out[to] = g[0] + g[step], out[2 * to] = g[0] - g[step], out[3 * to] = -g[step];
}

template <class S>
inline void filter_line(const V<S>* w, V<S>* out, int step, int to) {  // G
    const V<S> ends = (w[0] + w[2 * step]) * S(0.5), middle = w[step] * S(0.5);
    out[0] = w[0], out[to] = ends + middle, out[2 * to] = ends - middle, out[3 * to] = w[2 * step];
}

template <class S>
inline void derivative_line(const V<S>* m, V<S>* out, int step, int to) {  // G'
    const V<S> sum = (m[step] + m[2 * step]) * S(0.5);
    out[0] = m[0] + sum, out[to] = (m[step] - m[2 * step]) * S(0.5), out[2 * to] = sum + m[3 * step];
}

// from[square of From, values] to to[square of To, values].
template <class S, int From, int To, class F>
void transform(long values, const S* from, S* to, F line) {
    for (long i = 0; i < values; i += Lanes<S>::n) {
        V<S> in[From * From], out[To * To];
        for (int e = 0; e < From * From; ++e) in[e] = at(from + e * values + i);
        both_ways<S, From, To>(in, out, line);
        for (int e = 0; e < To * To; ++e) at(to + e * values + i) = out[e];
    }
}

// ---- The tiles of the images of one task, in blocks that stay in the second-level cache.

// Goes over the tiles in order.
struct Tile {
    long high, wide, image = 0, y = 0, x = 0;  // y and x are those of its first pixel

    Tile(const Size& s, long number) : high(s.high), wide(s.wide) {
        const long across = (wide + 1) / 2, each = (high + 1) / 2 * across;
        image = number / each, y = number % each / across * 2, x = number % across * 2;
    }

    void next() {
        if ((x += 2) < wide) return;
        x = 0;
        if ((y += 2) < high) return;
        y = 0, ++image;
    }

    // The values of the square of `side` that begins `before` pixels above and left of the tile; `none` where it is
    // outside of the image.
    template <int side, int before, class S>
    void square(S* maps, long channels, S* none, S** values) const {
        for (int i = 0; i < side; ++i)
            for (int j = 0; j < side; ++j) {
                const long v = y - before + i, u = x - before + j;
                const bool inside = v >= 0 && u >= 0 && v < high && u < wide;
                values[i * side + j] = inside ? maps + ((image * high + v) * wide + u) * channels : none;
            }
    }
};

inline long tiles_of(const Size& s) { return (s.high + 1) / 2 * ((s.wide + 1) / 2); }

// From one entry of a transformed block to the next: not a power of two, whose cache lines would drive each other out.
template <class S>
inline long step_of(long count, long channels) { return count * channels + Lanes<S>::n; }

// Puts a transformed square of each of `count` tiles into to[16, count, channels], whose entries are a step apart.
template <class S, int side, int before, class F>
void gather_tiles(const Size& s, long first, long count, const S* maps, long channels, const S* zeros, S* to, F line) {
    const long step = step_of<S>(count, channels);
    Tile tile(s, first);
    for (long n = 0; n < count; ++n, tile.next()) {
        const S* from[side * side];
        tile.square<side, before>(maps, channels, zeros, from);
        for (long c = 0; c < channels; c += Lanes<S>::n) {
            V<S> in[side * side], out[kEntries];
            for (int p = 0; p < side * side; ++p) in[p] = at(from[p] + c);
            both_ways<S, side, 4>(in, out, line);
            for (int e = 0; e < kEntries; ++e) at(to + e * step + n * channels + c) = out[e];
        }
    }
}

template <class S>
void gather_source(const Size& s, long first, long count, const S* maps, long channels, const S* zeros, S* to) {
    gather_tiles<S, 4, 1>(s, first, count, maps, channels, zeros, to, [](auto... a) { source_line<S>(a...); });
}

// Tiles of a block whose two transformed squares have so many channels together.
template <class S>
inline long tiles_at_once(long channels, long bytes) {
    return std::max(1L, bytes / (kEntries * long(sizeof(S)) * channels) / kPixels) * kPixels;
}

// Images [first, last) of one task. The filter is a transformed one, [16, depth, channels].
template <class S>
void convolve_tiles(
    const Size& s, const S* source, long depth, const S* filter, S* target, long channels, long first, long last
) {
    const long block = tiles_at_once<S>(depth + channels, 192 << 10), values = depth * channels;
    const long room = kEntries * step_of<S>(block, depth), more = kEntries * step_of<S>(block, channels);
    S* from = scratch<S, 0>(room + more + std::max(depth, channels));
    S* to = from + room;
    S* border = to + more;  // read as zeros, then written to by what sticks out
    for (long start = first * tiles_of(s), end = last * tiles_of(s); start < end; start += block) {
        const long count = std::min(block, end - start);
        const long depth_step = step_of<S>(count, depth), step = step_of<S>(count, channels);
        std::fill(border, border + depth, S(0));
        gather_source(s, start, count, source, depth, border, from);
        for (int e = 0; e < kEntries; ++e)
            multiply(count, depth, channels, from + e * depth_step, filter + e * values, to + e * step);
        Tile tile(s, start);
        for (long n = 0; n < count; ++n, tile.next()) {
            S* result[4];
            tile.square<2, 0>(target, channels, border, result);
            for (long c = 0; c < channels; c += Lanes<S>::n) {
                V<S> m[kEntries], out[4];
                for (int e = 0; e < kEntries; ++e) m[e] = at(to + e * step + n * channels + c);
                both_ways<S, 4, 2>(m, out, [](auto... a) { result_line<S>(a...); });
                for (int p = 0; p < 4; ++p) at(result[p] + c) = out[p];
            }
        }
    }
}

// Puts into d[tap, in, out] the images [first, last) of one task.
template <class S>
void filters_by_tiles(const Size& s, const S* x, const S* g, S* d, long first, long last) {
    const long block = tiles_at_once<S>(s.in + s.out, 384 << 10), values = s.in * s.out;
    const long room = kEntries * step_of<S>(block, s.in), more = kEntries * step_of<S>(block, s.out);
    S* from = scratch<S, 0>(room + more + std::max(s.in, s.out));
    S* gradient = from + room;
    S* zeros = gradient + more;
    std::fill(zeros, zeros + std::max(s.in, s.out), S(0));
    S* sums = scratch<S, 1>(kEntries * values);
    const long begin = first * tiles_of(s), end = last * tiles_of(s);
    for (long start = begin; start < end; start += block) {
        const long count = std::min(block, end - start);
        const long in_step = step_of<S>(count, s.in), out_step = step_of<S>(count, s.out);
        gather_source(s, start, count, x, s.in, zeros, from);
        gather_tiles<S, 2, 0>(s, start, count, g, s.out, zeros, gradient, [](auto... a) { gradient_line<S>(a...); });
        for (int e = 0; e < kEntries; ++e)
            outer_rows(s.in, sums + e * values, s.out, start > begin, [&](long row, long channel, auto& sum) {
                outer(from + e * in_step + row, s.in, gradient + e * out_step + channel, s.out, count, sum);
            });
    }
    transform<S, 4, 3>(values, sums, d, [](auto... a) { derivative_line<S>(a...); });
}

}  // namespace
