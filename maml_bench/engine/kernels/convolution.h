// 3x3 convolution, padding 1, stride 1 or 2, and its derivatives in the input and in the filters.

#pragma once

#include "winograd.h"

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

// Calls run(task, filter, first image, last image) for every piece, where prepare(task, filter) has put `values` values
// into the filter: once for each task that a thread meets.
template <class S, class P, class R>
void over_pieces(long tasks, long images, long values, P prepare, R run) {
    const Split split(tasks, images);
#pragma omp parallel
    {
        S* filter = scratch<S, 2>(values);
        long has = -1;
#pragma omp for collapse(2) schedule(static)
        for (long t = 0; t < tasks; ++t)
            for (long piece = 0; piece < split.pieces; ++piece) {
                if (has != t) prepare(t, filter);
                has = t;
                run(t, filter, piece * split.each, std::min(images, (piece + 1) * split.each));
            }
    }
}

template <class S>
void convolution(long tasks, const Size& s, const S* x, const S* w, S* y) {
    const long out = s.images * s.rows() * s.columns() * s.out, in = s.images * s.high * s.wide * s.in;
    const long values = s.in * s.out;
    if (by_tiles(s)) {
        over_pieces<S>(
            tasks, s.images, kEntries * values,
            [&](long t, S* filter) { transform_filter(values, w + t * 9 * values, filter); },
            [&](long t, const S* filter, long first, long last) {
                convolve_tiles(s, x + t * in, s.in, filter, y + t * out, s.out, first, last);
            }
        );
        return;
    }
    const bool few = s.in < kFew;
    const Geometry classes = few ? bordered_geometry(s) : geometry(s, false);
    over_pieces<S>(
        tasks, s.images, few ? (s.high + 2) * (s.wide + 2) * s.in : 0, [](long, S*) {},
        [&](long t, S* image, long first, long last) {
            const long map = s.high * s.wide * s.in, pixels = s.rows() * s.columns();
            const S* filter = w + t * 9 * values;
            if (!few) {
                gather(classes, x + t * in, map, s.in, filter, y + t * out, pixels, s.out, first, last);
                return;
            }
            for (long n = first; n < last; ++n) {
                bordered(s, x + t * in + n * map, image);
                gather(classes, image, 0, 3 * s.in, filter, y + t * out + n * pixels * s.out, pixels, s.out, 0, 1);
            }
        }
    );
}

template <class S>
void convolution_input(long tasks, const Size& s, const S* g, const S* w, S* d) {
    const long out = s.images * s.rows() * s.columns() * s.out, in = s.images * s.high * s.wide * s.in;
    const long values = s.in * s.out;
    const bool tiled = by_tiles(s);
    const Geometry classes = tiled ? Geometry() : geometry(s, true);
    over_pieces<S>(
        tasks, s.images, (9 + kEntries) * values,
        [&](long t, S* filter) {
            S* turned = tiled ? filter + kEntries * values : filter;
            for (long tap = 0; tap < 9; ++tap)
                transpose(s.in, s.out, w + (t * 9 + tap) * values, turned + (tiled ? 8 - tap : tap) * values);
            if (tiled) transform_filter(values, turned, filter);
        },
        [&](long t, const S* filter, long first, long last) {
            const S* gradient = g + t * out;
            if (tiled)
                convolve_tiles(s, gradient, s.out, filter, d + t * in, s.in, first, last);
            else
                gather(
                    classes, gradient, s.rows() * s.columns() * s.out, s.out, filter, d + t * in, s.high * s.wide, s.in,
                    first, last
                );
        }
    );
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
            if (by_tiles(s)) {
                filters_by_tiles(s, maps, gradient, into, first, last);
                continue;
            }
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
