// The derivatives of a network's first block in its parameters: normalisation and convolution at once.
//
// Nobody asks for the derivative in the images, so that of the convolution's result is needed for the filters alone. Its
// rows go from the normalisation into the filters' derivative while they are in the cache, and never to memory: on large
// images that is half of what a step moves.

#pragma once

#include "convolution.h"
#include "normalisation.h"

namespace {

template <class S, bool Pool>
void first_layer(
    const Maps& m, const Size& s, const S* image, const S* x, const S* gamma, const S* beta, const S* mean, const S* r,
    const S* dy, const S* plus, S* dfilter, S* dgamma, S* dbeta
) {
    over_tasks<S>(m, [&](long t, long first, int vectors) {
        backward_sums<S, Pool>(m, t, first, vectors, x, gamma, beta, mean, r, dy, dgamma, dbeta);
    });
    const long rows = Pool ? 2 : 1, lines = (m.high + rows - 1) / rows, row = m.wide * m.channels;
    over_filters(m.tasks, s, dfilter, [&](long t, long begin, long end, S* into) {
        const long size = (s.high + 2) * (s.wide + 2) * s.in, all = t * m.pixels() * m.channels;
        const S* gradient = dy + t * m.out_pixels() * m.channels;
        S* source = scratch<S, 0>(size);
        S* dx = scratch<S, 1>(rows * row);
        for (long n = begin; n < end; ++n) {
            bordered(s, image + (t * m.images + n) * s.high * s.wide * s.in, source);
            for (long line = 0; line < lines; ++line) {
                const long place = (n * m.high + line * rows) * m.wide;  // of the first pixel
                for (long c = 0; c < m.channels; c += Lanes<S>::n) {
                    const long stat = t * m.channels + c;
                    const Scale<S> scale = scale_of(stat, gamma, beta, mean, r);
                    const Backward<S> back(m, scale, at(dbeta + stat), at(dgamma + stat));
                    const auto put = [&](long p, long q, V<S> from, V<S> h) {
                        const V<S> e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * m.channels + c);
                        const V<S> own = back.dx(e, h);
                        at(dx + (p - place) * m.channels + c) = plus ? own + at(plus + all + p * m.channels + c) : own;
                    };
                    if constexpr (Pool)
                        visit_pooled(m, n * lines + line, x + all + c, scale, put);
                    else
                        visit_pixels(m, place, place + m.wide, x + all + c, scale, put);
                }
                for (long y = line * rows; y < std::min(m.high, (line + 1) * rows); ++y)
                    filters_of_row(s, source, y, dx + (y - line * rows) * row, into, n > begin || y > 0);
            }
        }
    });
}

}  // namespace
