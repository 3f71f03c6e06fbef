// 3x3 convolution, padding 1, stride 1 or 2, and its derivatives in the input and in the filters.

#pragma once

#include "winograd_strided.h"

namespace {

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

// A convolution of many channels (back = false), or its derivative in the input (true): sums over source maps.
template <class S>
class Gathering {
    enum Way { definition, tiles, maps };
    const Size s;
    const bool back;
    const Way way;
    const Axes axes;
    const Geometry classes;
    const long depth, channels, values;

  public:
    Gathering(const Size& s, bool back)
        : s(s), back(back), way(by_tiles(s) ? tiles : by_maps<S>(s, back) ? maps : definition), axes(s, back),
          classes(way == definition ? geometry(s, back) : Geometry()), depth(back ? s.out : s.in),
          channels(back ? s.in : s.out), values(s.in * s.out) {}

    // The filter w[9, in, out] of a task as `run` wants it, in `room` or where it is.
    const S* prepare(const S* w, S* room) const {
        S* turned = way == definition ? room : room + std::max(kEntries, kKinds * kKinds) * values;
        if (back) {  // what is not as defined sees it as a convolution with the taps in reverse order
            for (long tap = 0; tap < 9; ++tap)
                transpose(s.in, s.out, w + tap * values, turned + (way == definition ? tap : 8 - tap) * values);
            w = turned;
        }
        if (way == definition) return w;
        if (way == tiles)
            transform<S, 3, 4>(values, w, room, [](auto... a) { filter_line<S>(a...); });
        else
            transform<S, 3, kKinds>(values, w, room, [](auto... a) { strided_filter_line<S>(a...); });
        return room;
    }

    long room() const { return (9 + std::max(kEntries, kKinds * kKinds)) * values; }

    // Images [first, last) of one task.
    void run(const S* source, const S* filter, S* target, long first, long last) const {
        const long out = s.rows() * s.columns(), in = s.high * s.wide;
        if (way == tiles)
            convolve_tiles(s, source, depth, filter, target, channels, first, last);
        else if (way == maps)
            convolve_maps(axes, source, depth, filter, target, channels, first, last);
        else
            gather(
                classes, source, (back ? out : in) * depth, depth, filter, target, back ? in : out, channels, first, last
            );
    }
};

template <class S>
void gather_tasks(long tasks, const Size& s, bool back, const S* source, const S* w, S* target) {
    const Gathering<S> gathering(s, back);
    const Split split(tasks, s.images);
    const long out = s.images * s.rows() * s.columns() * s.out, in = s.images * s.high * s.wide * s.in;
#pragma omp parallel
    {
        S* room = scratch<S, 2>(gathering.room());
        const S* filter = nullptr;
        long has = -1;
#pragma omp for collapse(2) schedule(static)
        for (long t = 0; t < tasks; ++t)
            for (long piece = 0; piece < split.pieces; ++piece) {
                if (has != t) filter = gathering.prepare(w + t * 9 * s.in * s.out, room);
                has = t;
                gathering.run(
                    source + t * (back ? out : in), filter, target + t * (back ? in : out), piece * split.each,
                    std::min(s.images, (piece + 1) * split.each)
                );
            }
    }
}

template <class S>
void convolution(long tasks, const Size& s, const S* x, const S* w, S* y) {
    if (s.in >= kFew) return gather_tasks(tasks, s, false, x, w, y);
    const long out = s.rows() * s.columns(), in = s.high * s.wide * s.in;
    const Geometry classes = bordered_geometry(s);
    const Split split(tasks, s.images);
#pragma omp parallel for collapse(2) schedule(static)
    for (long t = 0; t < tasks; ++t)
        for (long piece = 0; piece < split.pieces; ++piece) {
            S* image = scratch<S, 0>((s.high + 2) * (s.wide + 2) * s.in);
            for (long n = piece * split.each; n < std::min(s.images, (piece + 1) * split.each); ++n) {
                bordered(s, x + (t * s.images + n) * in, image);
                gather(
                    classes, image, 0, 3 * s.in, w + t * 9 * s.in * s.out, y + (t * s.images + n) * out * s.out, out,
                    s.out, 0, 1
                );
            }
        }
}

template <class S>
void convolution_input(long tasks, const Size& s, const S* g, const S* w, S* d) {
    gather_tasks(tasks, s, true, g, w, d);
}

// The derivative in the filters: run(task, first image, last image, where to put it). Tasks of several pieces are summed
// from one buffer for each, in a fixed order.
template <class S, class F>
void over_filters(long tasks, const Size& s, S* d, F run) {
    const long filter = 9 * s.in * s.out;
    const Split split(tasks, s.images);
    std::unique_ptr<S[]> parts(split.pieces > 1 ? new S[tasks * split.pieces * filter] : nullptr);
#pragma omp parallel for collapse(2) schedule(static)
    for (long t = 0; t < tasks; ++t)
        for (long piece = 0; piece < split.pieces; ++piece)
            run(t, piece * split.each, std::min(s.images, (piece + 1) * split.each),
                parts ? parts.get() + (t * split.pieces + piece) * filter : d + t * filter);
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

// Few source channels: puts into d[tap, in, out], or adds to it, row y of the results of a bordered image. The row of the
// gradient is read for three taps.
template <class S>
void filters_of_row(const Size& s, const S* image, long y, const S* gradient, S* d, bool add) {
    for (long tap = 0; tap < 3; ++tap)
        outer_rows(3 * s.in, d + tap * 3 * s.in * s.out, s.out, add, [&](long row, long channel, auto& sum) {
            const S* window = image + (y * s.stride + tap) * (s.wide + 2) * s.in;
            outer(window + row, s.stride * s.in, gradient + channel, s.out, s.columns(), sum);
        });
}

template <class S>
void convolution_filter(long tasks, const Size& s, const S* x, const S* g, S* d) {
    const long out = s.rows() * s.columns() * s.out, in = s.high * s.wide * s.in;
    const long group = images_at_once<S>(in + out);
    const bool tiled = by_tiles(s), strided = by_maps<S>(s, false);
    over_filters(tasks, s, d, [&](long t, long first, long last, S* into) {
        const S* maps = x + t * s.images * in;
        const S* gradient = g + t * s.images * out;
        if (tiled) return filters_by_tiles(s, maps, gradient, into, first, last);
        if (strided) return filters_by_maps(s, maps, gradient, into, first, last);
        if (s.in >= kFew) {
            for (long n = first; n < last; n += group)
                filters(s, maps, gradient, into, n > first, n, std::min(last, n + group));
            return;
        }
        S* image = scratch<S, 0>((s.high + 2) * (s.wide + 2) * s.in);
        for (long n = first; n < last; ++n) {
            bordered(s, maps + n * in, image);
            for (long y = 0; y < s.rows(); ++y)
                filters_of_row(
                    s, image, y, gradient + n * out + y * s.columns() * s.out, into, n > first || y > 0
                );
        }
    });
}

}  // namespace
