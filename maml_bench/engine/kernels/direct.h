// 3x3 convolution, padding 1, stride 1 or 2, as its definition says: every pixel with its nine neighbours.

#pragma once

#include "tiles.h"

namespace {

struct Size {
    long images, high, wide, in, out, stride;
    long rows() const { return (high - 1) / stride + 1; }
    long columns() const { return (wide - 1) / stride + 1; }
};

// ---- Which source pixels meet a pixel: pixels that see the same taps form a class, so that no tap is padding.

struct Class {
    std::vector<int> taps;      // 0 to 8
    std::vector<long> offsets;  // in elements, of the source pixel seen through each tap, from that pixel's `source`
    std::vector<long> target, source;  // in pixels, in elements
};

using Geometry = std::vector<Class>;

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

}  // namespace
