// 3x3 convolution, padding 1, stride 1 or 2, and its derivatives in the input and in the filters.

#pragma once

#include "lanes.h"

namespace {

// ---- Which source pixels meet a pixel: pixels that see the same taps form a class, so that no tap is padding.

struct Class {
    std::vector<int> taps;      // 0 to 8
    std::vector<long> offsets;  // in elements, of the source pixel seen through each tap, from that pixel's `source`
    std::vector<long> target, source;  // in pixels, in elements
};

using Geometry = std::vector<Class>;

struct Size {
    long images, high, wide, in, out, stride;
    long rows() const { return (high - 1) / stride + 1; }
    long columns() const { return (wide - 1) / stride + 1; }
};

// The pixels of the result: of the output (transposed = false), or of the input's derivative (true).
Geometry geometry(const Size& s, bool transposed) {
    const long high = transposed ? s.high : s.rows(), wide = transposed ? s.wide : s.columns();
    const long source_high = transposed ? s.rows() : s.high, source_wide = transposed ? s.columns() : s.wide;
    const long depth = transposed ? s.out : s.in;
    Geometry classes;
    std::vector<int> place(512 * 4, -1);
    for (long y = 0; y < high; ++y)
        for (long x = 0; x < wide; ++x) {
            int mask = 0;
            long found[9];
            for (int tap = 0; tap < 9; ++tap) {
                long v = transposed ? y + 1 - tap / 3 : y * s.stride + tap / 3 - 1;
                long u = transposed ? x + 1 - tap % 3 : x * s.stride + tap % 3 - 1;
                if (transposed) {
                    if (v < 0 || u < 0 || v % s.stride || u % s.stride) continue;
                    v /= s.stride, u /= s.stride;
                }
                if (v < 0 || u < 0 || v >= source_high || u >= source_wide) continue;
                found[tap] = v * source_wide + u;
                mask |= 1 << tap;
            }
            int& index = place[mask];
            if (index < 0) {
                index = int(classes.size());
                classes.emplace_back();
                for (int tap = 0; tap < 9; ++tap)
                    if (mask >> tap & 1) {
                        classes[index].taps.push_back(tap);
                        classes[index].offsets.push_back((found[tap] - found[__builtin_ctz(mask)]) * depth);
                    }
            }
            classes[index].target.push_back(y * wide + x);
            classes[index].source.push_back(found[__builtin_ctz(mask)] * depth);
        }
    return classes;
}

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

// Images whose maps, of so many elements each, stay in the second-level cache while they are gone over several times.
template <class S>
inline long images_at_once(long elements) {
    return std::max<long>(1, (1L << 18) / long(sizeof(S)) / elements);
}

// Images [first, last) of one task: target[pixel] = sum over taps of source[pixel + tap] * filter[tap].
template <class S>
void gather_some(
    const Geometry& classes, const S* source, long source_step, long depth, const S* filter, S* target,
    long target_pixels, long channels, long first, long last
) {
    for (const Class& c : classes) {
        const long pixels = long(c.target.size()), all = pixels * (last - first);
        over_vectors<S>(channels, [&](auto wide, long channel) {
            constexpr int W = decltype(wide)::value, most = std::min(kPixels, kAccumulators / W);
            const long tiles = (all + most - 1) / most, each = (all + tiles - 1) / tiles;
            for (long start = 0; start < all; start += each) {
                const int here = int(std::min(each, all - start));
                const S* from[kPixels];
                S* to[kPixels];
                for (int p = 0; p < here; ++p) {
                    const long image = first + (start + p) / pixels, pixel = (start + p) % pixels;
                    from[p] = source + image * source_step + c.source[pixel];
                    to[p] = target + (image * target_pixels + c.target[pixel]) * channels + channel;
                }
                tile_of<S, W, most>(
                    here, from, c.offsets.data(), c.taps.data(), int(c.taps.size()), depth, filter + channel,
                    depth * channels, channels, to
                );
            }
        });
    }
}

template <class S>
void gather(
    const Geometry& classes, const S* source, long source_step, long depth, const S* filter, S* target,
    long target_pixels, long channels, long first, long last
) {
    const long each = images_at_once<S>(source_step + target_pixels * channels);
    for (long n = first; n < last; n += each)
        gather_some(
            classes, source, source_step, depth, filter, target, target_pixels, channels, n, std::min(last, n + each)
        );
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

// Puts into d[tap, in, out], or adds to it, the images [first, last) of one task.
template <class S>
void filters(const Size& s, const S* x, const S* g, S* d, bool add, long first, long last) {
    const long rows = s.rows(), columns = s.columns();
    for (int tap = 0; tap < 9; ++tap) {
        const long dy = tap / 3 - 1, dx = tap % 3 - 1;
        const long y0 = dy < 0 ? 1 : 0, x0 = dx < 0 ? 1 : 0;
        const long y1 = s.high <= dy ? 0 : std::min(rows, (s.high - 1 - dy) / s.stride + 1);
        const long x1 = s.wide <= dx ? 0 : std::min(columns, (s.wide - 1 - dx) / s.stride + 1);
        outer_rows(s.in, d + tap * s.in * s.out, s.out, add, [&](long row, long channel, auto& sum) {
            for (long n = first; n < last; ++n)
                for (long y = y0; y < y1; ++y)
                    outer(
                        x + ((n * s.high + y * s.stride + dy) * s.wide + x0 * s.stride + dx) * s.in + row,
                        s.stride * s.in, g + ((n * rows + y) * columns + x0) * s.out + channel, s.out, x1 - x0, sum
                    );
        });
    }
}

// ---- Few source channels (the images): in a copy with a border of zeros, the three taps of a row lie side by side,
// so that one row of the window is a single tap of three times the depth.

constexpr long kFew = 8;

template <class S>
void bordered(const Size& s, const S* image, S* out) {
    const long wide = (s.wide + 2) * s.in;
    std::fill(out, out + wide, S(0));
    for (long y = 0; y < s.high; ++y) {
        S* row = out + (y + 1) * wide;
        std::fill(row, row + s.in, S(0));
        std::copy_n(image + y * s.wide * s.in, s.wide * s.in, row + s.in);
        std::fill(row + (s.wide + 1) * s.in, row + wide, S(0));
    }
    std::fill(out + (s.high + 1) * wide, out + (s.high + 2) * wide, S(0));
}

Geometry bordered_geometry(const Size& s) {
    const long wide = (s.wide + 2) * s.in;
    Class c{{0, 1, 2}, {0, wide, 2 * wide}, {}, {}};
    for (long y = 0; y < s.rows(); ++y)
        for (long x = 0; x < s.columns(); ++x) {
            c.target.push_back(y * s.columns() + x);
            c.source.push_back(y * s.stride * wide + x * s.stride * s.in);
        }
    return {c};
}

// Pieces of the images of each task, so that all threads have work where tasks are few.
struct Split {
    long pieces, each;
    Split(long tasks, long images) {
        const long threads = omp_get_max_threads();
        const long wanted = tasks >= threads ? 1 : std::min(images, (2 * threads + tasks - 1) / tasks);
        each = (images + wanted - 1) / wanted;
        pieces = (images + each - 1) / each;
    }
};

template <class S>
void convolution(long tasks, const Size& s, const S* x, const S* w, S* y) {
    const long out = s.rows() * s.columns(), in = s.high * s.wide;
    const Geometry classes = s.in < kFew ? bordered_geometry(s) : geometry(s, false);
    const Split split(tasks, s.images);
#pragma omp parallel for collapse(2) schedule(static)
    for (long t = 0; t < tasks; ++t)
        for (long piece = 0; piece < split.pieces; ++piece) {
            const long first = piece * split.each, last = std::min(s.images, first + split.each);
            const S* maps = x + t * s.images * in * s.in;
            const S* filter = w + t * 9 * s.in * s.out;
            S* result = y + t * s.images * out * s.out;
            if (s.in >= kFew) {
                gather(classes, maps, in * s.in, s.in, filter, result, out, s.out, first, last);
                continue;
            }
            std::unique_ptr<S[]> image(new S[(s.high + 2) * (s.wide + 2) * s.in]);
            for (long n = first; n < last; ++n) {
                bordered(s, maps + n * in * s.in, image.get());
                gather(classes, image.get(), 0, 3 * s.in, filter, result + n * out * s.out, out, s.out, 0, 1);
            }
        }
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

template <class S>
void convolution_input(long tasks, const Size& s, const S* g, const S* w, S* d) {
    const long out = s.rows() * s.columns(), in = s.high * s.wide;
    const Geometry classes = geometry(s, true);
    const Split split(tasks, s.images);
    const long filter = 9 * s.in * s.out;
#pragma omp parallel
    {
        std::unique_ptr<S[]> turned(new S[filter]);
        long has = -1;
#pragma omp for collapse(2) schedule(static)
        for (long t = 0; t < tasks; ++t)
            for (long piece = 0; piece < split.pieces; ++piece) {
                if (has != t)
                    for (long tap = 0; tap < 9; ++tap)
                        transpose(
                            s.in, s.out, w + t * filter + tap * s.in * s.out, turned.get() + tap * s.in * s.out
                        );
                has = t;
                const long first = piece * split.each, last = std::min(s.images, first + split.each);
                gather(
                    classes, g + t * s.images * out * s.out, out * s.out, s.out, turned.get(), d + t * s.images * in * s.in, in,
                    s.in, first, last
                );
            }
    }
}

template <class S>
void convolution_filter(long tasks, const Size& s, const S* x, const S* g, S* d) {
    const long out = s.rows() * s.columns(), in = s.high * s.wide, filter = 9 * s.in * s.out;
    const Split split(tasks, s.images);
    // Tasks of several pieces are summed from one buffer per thread and task, in a fixed order of the pieces.
    std::unique_ptr<S[]> parts(split.pieces > 1 ? new S[tasks * split.pieces * filter] : nullptr);
    const long group = images_at_once<S>(in * s.in + out * s.out);
#pragma omp parallel for collapse(2) schedule(static)
    for (long t = 0; t < tasks; ++t)
        for (long piece = 0; piece < split.pieces; ++piece) {
            S* into = (parts ? parts.get() + (t * split.pieces + piece) * filter : d + t * filter);
            const long first = piece * split.each, last = std::min(s.images, first + split.each);
            const S* maps = x + t * s.images * in * s.in;
            const S* gradient = g + t * s.images * out * s.out;
            if (s.in >= kFew) {
                for (long n = first; n < last; n += group)
                    filters(s, maps, gradient, into, n > first, n, std::min(last, n + group));
                continue;
            }
            std::unique_ptr<S[]> image(new S[(s.high + 2) * (s.wide + 2) * s.in]);
            for (long n = first; n < last; ++n) {
                bordered(s, maps + n * in * s.in, image.get());
                for (long y = 0; y < s.rows(); ++y)  // one row of the gradient is read for three taps
                    for (long tap = 0; tap < 3; ++tap)
                        outer_rows(
                            3 * s.in, into + tap * 3 * s.in * s.out, s.out, n > first || y > 0,
                            [&](long row, long channel, auto& sum) {
                                outer(
                                    image.get() + ((y * s.stride + tap) * (s.wide + 2)) * s.in + row, s.stride * s.in,
                                    gradient + ((n * s.rows() + y) * s.columns()) * s.out + channel, s.out, s.columns(),
                                    sum
                                );
                            }
                        );
            }
        }
    if (parts)
        for (long t = 0; t < tasks; ++t) {
            S* into = d + t * filter;
            const S* from = parts.get() + t * split.pieces * filter;
            for (long i = 0; i < filter; ++i) {
                S sum = from[i];
                for (long piece = 1; piece < split.pieces; ++piece) sum += from[piece * filter + i];
                into[i] = sum;
            }
        }
}

}  // namespace
