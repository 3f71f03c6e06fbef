// 3x3 convolution, padding 1, stride 2, by minimal filtering, and its derivatives.
//
// Along one axis a result is y[j] = x[2j] w1 + x[2j - 1] w0 + x[2j + 1] w2. The values of even places meet w1 alone. Those
// of odd places meet a filter of two, and three results of it at a time take four products: F(3, 2), which is F(2, 3)
// with filter and results exchanged, so that the lines of winograd.h serve here too. The first result meets one odd value
// only. For 14 values these are 16 products where the definition has 20; in both axes 256 where it has 400. The
// derivative in the input has the same form: even places take g[j] w1, odd ones g[j] w2 + g[j + 1] w0.
//
// A whole map is transformed at once, so this is for maps of which some fit the second-level cache.

#pragma once

#include "winograd.h"

namespace {

constexpr int kKinds = 5;  // of products along one axis: with w1, then with the four entries of the transformed (w0, w2)

// One axis: `longer` values of the input, `shorter` of the output. Products of one kind follow each other.
struct Axis {
    long longer, shorter, triples, start[kKinds + 1];
    bool back, single;  // back: from the output's gradient to that of the input; single: a product outside of triples

    Axis(long length, bool back)
        : longer(length), shorter((length + 1) / 2), triples((shorter + 1) / 3), start{}, back(back),
          single(!back || length % 2 == 0) {
        for (int kind = 0; kind < kKinds; ++kind)
            start[kind + 1] = start[kind] + (kind ? triples : shorter) + (single && kind == (back ? 1 : 4));
    }

    long products() const { return start[kKinds]; }
    long size(int kind) const { return start[kind + 1] - start[kind]; }
    long source() const { return back ? shorter : longer; }
    long results() const { return back ? longer : shorter; }
    long definition() const { return 2 * shorter - 1 + longer / 2; }  // products without those of padding
    long of_triple(int entry, long triple) const { return start[entry + 1] + triple; }
    long of_single() const { return start[back ? 2 : kKinds] - 1; }
};

// The transforms of whole axes: of `width` numbers at each place, from one place to the next a step of elements.

template <class S, class F>
inline void over_width(long width, F call) {
    for (long c = 0; c < width; c += Lanes<S>::n) call(c);
}

template <class S>
void source_axis(const Axis& a, const S* in, long step, S* out, long to, long width) {
    const long first = a.back ? 0 : 1, stride = a.back ? 1 : 2, odd = a.back ? a.shorter : a.longer / 2;
    for (long j = 0; j < a.shorter; ++j)
        over_width<S>(width, [&](long c) { at(out + j * to + c) = at(in + j * stride * step + c); });
    for (long t = 0; t < a.triples; ++t) {
        const S* from = in + (first + 3 * t * stride) * step;
        const long has = odd - 3 * t;
        over_width<S>(width, [&](long c) {
            V<S> d[4], e[4];
            for (int i = 0; i < 4; ++i) d[i] = i < has ? at(from + i * stride * step + c) : V<S>{};
            source_line<S>(d, e, 1, 1);
            for (int i = 0; i < 4; ++i) at(out + a.of_triple(i, t) * to + c) = e[i];
        });
    }
    if (a.single)
        over_width<S>(width, [&](long c) {
            at(out + a.of_single() * to + c) = a.back ? at(in + (a.shorter - 1) * step + c) : -at(in + step + c);
        });
}

template <class S>
void result_axis(const Axis& a, const S* in, long step, S* out, long to, long width) {
    const V<S> zero = {};
    for (long t = 0; t < a.triples; ++t) {
        const long has = a.shorter - 1 - 3 * t;
        over_width<S>(width, [&](long c) {
            V<S> e[4], y[3];
            for (int i = 0; i < 4; ++i) e[i] = at(in + a.of_triple(i, t) * step + c);
            derivative_line<S>(e, y, 1, 1);
            for (long i = 0, j = 3 * t; i < 3 && i < has; ++i, ++j)
                at(out + (a.back ? 2 * j + 1 : j + 1) * to + c) = y[i] + (a.back ? zero : at(in + (j + 1) * step + c));
        });
    }
    if (a.back)
        for (long j = 0; j < a.shorter; ++j)
            over_width<S>(width, [&](long c) { at(out + 2 * j * to + c) = at(in + j * step + c); });
    if (a.single)
        over_width<S>(width, [&](long c) {
            const V<S> alone = at(in + a.of_single() * step + c);
            at(out + (a.back ? a.longer - 1 : 0) * to + c) = alone + (a.back ? zero : at(in + c));
        });
}

template <class S>
void gradient_axis(const Axis& a, const S* in, long step, S* out, long to, long width) {
    for (long j = 0; j < a.shorter; ++j)
        over_width<S>(width, [&](long c) { at(out + j * to + c) = at(in + j * step + c); });
    for (long t = 0; t < a.triples; ++t) {
        const S* from = in + (3 * t + 1) * step;
        const long has = a.shorter - 1 - 3 * t;
        over_width<S>(width, [&](long c) {
            V<S> g[3], e[4];
            for (int i = 0; i < 3; ++i) g[i] = i < has ? at(from + i * step + c) : V<S>{};
            filter_line<S>(g, e, 1, 1);
            for (int i = 0; i < 4; ++i) at(out + a.of_triple(i, t) * to + c) = e[i];
        });
    }
    over_width<S>(width, [&](long c) { at(out + a.of_single() * to + c) = at(in + c); });
}

template <class S>
inline void strided_filter_line(const V<S>* w, V<S>* out, int step, int to) {
    const V<S> pair[2] = {w[0], w[2 * step]};
    out[0] = w[step];
    gradient_line<S>(pair, out + to, 1, to);
}

template <class S>
inline void strided_derivative_line(const V<S>* e, V<S>* out, int step, int to) {
    V<S> pair[2];
    result_line<S>(e + step, pair, step, 1);
    out[0] = pair[0], out[to] = e[0], out[2 * to] = pair[1];
}

struct Axes {
    Axis down, across;
    Axes(const Size& s, bool back) : down(s.high, back), across(s.wide, back) {}
    long products() const { return down.products() * across.products(); }
    long definition() const { return down.definition() * across.definition(); }
};

// Images whose transformed maps, of so many channels together, are taken at once.
template <class S>
inline long maps_at_once(const Axes& axes, long channels) {
    return (768 << 10) / (axes.products() * channels * long(sizeof(S)));
}

// Whether it is faster than the definition. To transform a filter takes as long as some 250 products with it.
template <class S>
inline bool by_maps(const Size& s, bool back) {
    if (s.stride != 2 || s.in < kFew || s.high < 4 || s.wide < 4) return false;
    const Axes axes(s, back);
    const bool fits = maps_at_once<S>(axes, s.in + s.out) >= 3;
    return fits && s.images * (4 * axes.definition() - 5 * axes.products()) >= 4 * 250;
}

// From in[down, across, channels] of one image to out[down, across, channels]: a line down every column, then one along
// every row. `high` are the places down that come out, `wide` those across that go in, a step from one to the next.
template <class S, class F>
void both_axes(
    const Axes& axes, F line, long high, long wide, const S* in, long step, long channels, S* out, long wide_out, long to
) {
    S* half = scratch<S, 3>(high * wide * channels);
    for (long x = 0; x < wide; ++x)
        line(axes.down, in + x * step, wide * step, half + x * channels, wide * channels, channels);
    for (long y = 0; y < high; ++y)
        line(axes.across, half + y * wide * channels, channels, out + y * wide_out * to, to, channels);
}

// call(kind, first row of products, end of the rows, first product in a row, products in a row).
template <class F>
inline void over_kinds(const Axes& axes, F call) {
    for (int y = 0; y < kKinds; ++y)
        for (int x = 0; x < kKinds; ++x)
            call(y * kKinds + x, axes.down.start[y], axes.down.start[y + 1], axes.across.start[x], axes.across.size(x));
}

// Images [first, last) of one task. The filter is a transformed one, [25, depth, channels]. Products lie as
// [down, across, image, channels], so that those of one kind are long matrices.
template <class S>
void convolve_maps(
    const Axes& axes, const S* source, long depth, const S* filter, S* target, long channels, long first, long last
) {
    const long most = std::min(last - first, maps_at_once<S>(axes, depth + channels));
    const long products = axes.products(), high = axes.down.products(), wide = axes.across.products();
    const long in = axes.down.source() * axes.across.source(), out = axes.down.results() * axes.across.results();
    S* from = scratch<S, 0>(products * most * (depth + channels));
    S* to = from + products * most * depth;
    for (long n = first; n < last; n += most) {
        const long count = std::min(most, last - n);
        for (long image = 0; image < count; ++image)
            both_axes(
                axes, [](auto... a) { source_axis<S>(a...); }, high, axes.across.source(),
                source + (n + image) * in * depth, depth, depth, from + image * depth, wide, count * depth
            );
        over_kinds(axes, [&](int kind, long y, long end, long x, long size) {
            for (; y < end; ++y) {
                const long place = (y * wide + x) * count;
                multiply(
                    size * count, depth, channels, from + place * depth, filter + kind * depth * channels,
                    to + place * channels
                );
            }
        });
        for (long image = 0; image < count; ++image)
            both_axes(
                axes, [](auto... a) { result_axis<S>(a...); }, axes.down.results(), wide, to + image * channels,
                count * channels, channels, target + (n + image) * out * channels, axes.across.results(), channels
            );
    }
}

// Puts into d[tap, in, out] the images [first, last) of one task.
template <class S>
void filters_by_maps(const Size& s, const S* x, const S* g, S* d, long first, long last) {
    const Axes axes(s, false);
    const long most = std::min(last - first, maps_at_once<S>(axes, s.in + s.out));
    const long products = axes.products(), high = axes.down.products(), wide = axes.across.products();
    const long values = s.in * s.out, in = s.high * s.wide * s.in, out = s.rows() * s.columns() * s.out;
    S* from = scratch<S, 0>(products * most * (s.in + s.out));
    S* gradient = from + products * most * s.in;
    S* sums = scratch<S, 1>(kKinds * kKinds * values);
    for (long n = first; n < last; n += most) {
        const long count = std::min(most, last - n);
        for (long image = 0; image < count; ++image) {
            both_axes(
                axes, [](auto... a) { source_axis<S>(a...); }, high, s.wide, x + (n + image) * in, s.in, s.in,
                from + image * s.in, wide, count * s.in
            );
            both_axes(
                axes, [](auto... a) { gradient_axis<S>(a...); }, high, s.columns(), g + (n + image) * out, s.out, s.out,
                gradient + image * s.out, wide, count * s.out
            );
        }
        over_kinds(axes, [&](int kind, long y, long end, long left, long size) {
            outer_rows(s.in, sums + kind * values, s.out, n > first, [&](long row, long channel, auto& sum) {
                for (long down = y; down < end; ++down) {
                    const long place = (down * wide + left) * count;
                    outer(from + place * s.in + row, s.in, gradient + place * s.out + channel, s.out, size * count, sum);
                }
            });
        });
    }
    transform<S, kKinds, 3>(values, sums, d, [](auto... a) { strided_derivative_line<S>(a...); });
}

}  // namespace
