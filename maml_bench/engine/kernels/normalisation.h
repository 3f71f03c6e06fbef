#pragma once

#include "lanes.h"

namespace {

// ---- Batch normalisation, ReLU and, if asked for, 2x2 max-pooling, in one pass each way.
//
// With h = (x - mean) / sqrt(var + eps), z = gamma h + beta and, per task and channel, E the mean over M pixels:
//   forward   y = max(z, 0), pooled
//   backward  e = dy where y came from and z > 0;  dbeta = M E[e];  dgamma = M E[e h]
//             dx = gamma r (e - E[e] - h E[e h]),  r = 1 / sqrt(var + eps)
//   double    the derivative of <u, dx> + <a, dgamma> + <b, dbeta> in dy, gamma and x:
//             ddy = (gamma r (u - E[u] - h E[u h]) + a h + b) where y came from and z > 0
//             dgamma = r M (E[u e] - E[u] E[e] - E[u h] E[e h])
//             dx = r (k - E[k] - h E[k h]) - gamma r^2 h (E[u e] - E[u] E[e] - E[u h] E[e h])
//             with k = a e - gamma r (u E[e h] + e E[u h])

struct Maps {
    long tasks, images, high, wide, channels;
    int pool;
    long pixels() const { return images * high * wide; }
    long out_high() const { return pool ? high / 2 : high; }
    long out_wide() const { return pool ? wide / 2 : wide; }
    long out_pixels() const { return images * out_high() * out_wide(); }
};

constexpr long kRun = 128;  // additions in a row before a partial sum is put away: keeps rounding small

template <class S, int N>
struct Sums {
    V<S> part[N] = {}, total[N] = {};
    long count = 0;
    inline void step() {
        if (++count % kRun == 0) put();
    }
    inline void put() {
        for (int i = 0; i < N; ++i) total[i] += part[i], part[i] = V<S>{};
    }
};

template <class S>
struct Scale {  // of one task and one vector of channels
    V<S> mean, r, gamma, beta;
    inline V<S> h(V<S> x) const { return (x - mean) * r; }
    inline V<S> z(V<S> h) const { return gamma * h + beta; }
};

// A task's pixels are taken line by line, and each line for all vectors of channels at hand: it stays in the cache, so
// that memory is read once and in order. A line is a stretch of pixels, or two rows of an image where they are pooled.
constexpr long kLine = 128;

template <bool Pool>
inline long lines(const Maps& m) {
    return Pool ? m.images * ((m.high + 1) / 2) : (m.pixels() + kLine - 1) / kLine;
}

// Visits every pixel of a line once: call(pixel of x, pixel of y or -1, whether it is where y comes from, as a mask of
// ones and zeros, its h). Pixels that pooling leaves out have no y.
template <class S, class F>
inline void visit_pixels(const Maps& m, long first, long last, const S* x, const Scale<S>& scale, F call) {
    const V<S> one = V<S>{} + S(1);
    for (long p = first; p < last; ++p) {
        const V<S> h = scale.h(at(x + p * m.channels)), z = scale.z(h);
        call(p, p, z <= 0 ? V<S>{} : one, h);
    }
}

template <class S, class F>
inline void visit_pooled(const Maps& m, long line, const S* x, const Scale<S>& scale, F call) {
    const V<S> one = V<S>{} + S(1);
    const long n = line / ((m.high + 1) / 2), y = line % ((m.high + 1) / 2) * 2;
    for (long c = 0; c < m.wide; c += 2) {
        const long p = (n * m.high + y) * m.wide + c;
        if (y + 1 >= m.high || c + 1 >= m.wide) {
            for (long i = 0; i < 2 && y + i < m.high; ++i)
                for (long j = 0; j < 2 && c + j < m.wide; ++j)
                    call(p + i * m.wide + j, -1, V<S>{}, scale.h(at(x + (p + i * m.wide + j) * m.channels)));
            continue;
        }
        const long q[4] = {p, p + 1, p + m.wide, p + m.wide + 1};
        V<S> h[4], z[4];
        for (int i = 0; i < 4; ++i) h[i] = scale.h(at(x + q[i] * m.channels)), z[i] = scale.z(h[i]);
        V<S> top = z[0];
        for (int i = 1; i < 4; ++i) top = z[i] <= top ? top : z[i];
        V<S> left = top <= 0 ? V<S>{} : one;  // the first of equal ones takes all
        const long out = (n * m.out_high() + y / 2) * m.out_wide() + c / 2;
        for (int i = 0; i < 4; ++i) {
            const V<S> from = z[i] < top ? V<S>{} : left;
            left -= from;
            call(q[i], out, from, h[i]);
        }
    }
}

template <class S, bool Pool, class F>
inline void visit(const Maps& m, long line, const S* x, const Scale<S>& scale, F call) {
    if constexpr (Pool)
        visit_pooled(m, line, x, scale, call);
    else
        visit_pixels(m, line * kLine, std::min((line + 1) * kLine, m.pixels()), x, scale, call);
}

constexpr int kTogether = 8;  // most vectors of channels that are taken together

// Pieces of the channels of each task, as few as give all threads work: call(task, first channel, vectors).
template <class S, class F>
inline void over_tasks(const Maps& m, F call) {
    const long vectors = m.channels / Lanes<S>::n, threads = omp_get_max_threads();
    const long wanted = std::min(vectors, (threads + m.tasks - 1) / m.tasks);
    const long each = std::min<long>(kTogether, (vectors + wanted - 1) / wanted), pieces = (vectors + each - 1) / each;
#pragma omp parallel for collapse(2) schedule(static)
    for (long t = 0; t < m.tasks; ++t)
        for (long piece = 0; piece < pieces; ++piece)
            call(t, piece * each * Lanes<S>::n, int(std::min(each, vectors - piece * each)));
}

// call(line, vector, channel of it) for every line and vector of a piece.
template <class S, bool Pool, class F>
inline void over_lines(const Maps& m, int vectors, F call) {
    for (long line = 0, all = lines<Pool>(m); line < all; ++line)
        for (int w = 0; w < vectors; ++w) call(line, w, w * Lanes<S>::n);
}

template <class S, bool Pool>
void norm(const Maps& m, S eps, const S* x, const S* gamma, const S* beta, S* y, S* mean, S* r) {
    over_tasks<S>(m, [&](long t, long first, int vectors) {
        const S* in = x + t * m.pixels() * m.channels + first;
        S* out = y + t * m.out_pixels() * m.channels + first;
        const long stat = t * m.channels + first, few = std::min<long>(m.pixels(), 64);
        V<S> near[kTogether] = {};  // a value close to the mean, from which squares lose no digits
        for (int w = 0; w < vectors; ++w) {
            for (long p = 0; p < few; ++p) near[w] += at(in + p * m.channels + w * Lanes<S>::n);
            near[w] /= S(few);
        }
        Sums<S, 2> sums[kTogether];
        over_lines<S, false>(m, vectors, [&](long line, int w, long c) {
            Sums<S, 2> sum = sums[w];
            for (long p = line * kLine, end = std::min(p + kLine, m.pixels()); p < end; ++p, sum.step()) {
                const V<S> off = at(in + p * m.channels + c) - near[w];
                sum.part[0] += off, sum.part[1] += off * off;
            }
            sums[w] = sum;
        });
        Scale<S> scales[kTogether];
        for (int w = 0; w < vectors; ++w) {
            const long c = stat + w * Lanes<S>::n;
            sums[w].put();
            const V<S> shift = sums[w].total[0] / S(m.pixels());
            const V<S> var = sums[w].total[1] / S(m.pixels()) - shift * shift;
            scales[w] = Scale<S>{near[w] + shift, V<S>{}, at(gamma + c), at(beta + c)};
            for (int i = 0; i < Lanes<S>::n; ++i) scales[w].r[i] = S(1) / std::sqrt(std::max(var[i], S(0)) + eps);
            at(mean + c) = scales[w].mean, at(r + c) = scales[w].r;
        }
        const V<S> zero = {};
        over_lines<S, Pool>(m, vectors, [&](long line, int w, long c) {
            const Scale<S> scale = scales[w];
            if constexpr (!Pool) {
                for (long p = line * kLine, end = std::min(p + kLine, m.pixels()); p < end; ++p) {
                    const V<S> z = scale.z(scale.h(at(in + p * m.channels + c)));
                    at(out + p * m.channels + c) = z < 0 ? zero : z;
                }
            } else {
                const long n = line / ((m.high + 1) / 2), v = line % ((m.high + 1) / 2);
                if (v >= m.out_high()) return;
                for (long u = 0; u < m.out_wide(); ++u) {
                    const S* from = in + ((n * m.high + 2 * v) * m.wide + 2 * u) * m.channels + c;
                    V<S> top = zero;
                    for (long i = 0; i < 4; ++i) {
                        const V<S> z = scale.z(scale.h(at(from + (i / 2 * m.wide + i % 2) * m.channels)));
                        top = z <= top ? top : z;
                    }
                    at(out + ((n * m.out_high() + v) * m.out_wide() + u) * m.channels + c) = top;
                }
            }
        });
    });
}

template <class S>
inline Scale<S> scale_of(long c, const S* gamma, const S* beta, const S* mean, const S* r) {
    return {at(mean + c), at(r + c), at(gamma + c), at(beta + c)};
}

// dbeta and dgamma of some vectors of channels of a task, which are also the sums that dx is made of.
template <class S, bool Pool>
void backward_sums(
    const Maps& m, long t, long first, int vectors, const S* x, const S* gamma, const S* beta, const S* mean, const S* r,
    const S* dy, S* dgamma, S* dbeta
) {
    const long all = t * m.pixels() * m.channels + first, stat = t * m.channels + first, channels = m.channels;
    const S* gradient = dy + t * m.out_pixels() * channels + first;
    Sums<S, 2> sums[kTogether];
    over_lines<S, Pool>(m, vectors, [&](long line, int w, long c) {
        Sums<S, 2> sum = sums[w];
        const Scale<S> scale = scale_of(stat + c, gamma, beta, mean, r);
        visit<S, Pool>(m, line, x + all + c, scale, [&](long, long q, V<S> from, V<S> h) {
            if (Pool && q < 0) return;
            const V<S> e = from * at(gradient + q * channels + c);
            sum.part[0] += e, sum.part[1] += e * h;
            sum.step();
        });
        sums[w] = sum;
    });
    for (int w = 0; w < vectors; ++w) {
        const long c = stat + w * Lanes<S>::n;
        sums[w].put();
        at(dbeta + c) = sums[w].total[0], at(dgamma + c) = sums[w].total[1];
    }
}

// dx of a pixel, for one task and one vector of channels.
template <class S>
struct Backward {
    V<S> factor, e1, eh;
    Backward(const Maps& m, const Scale<S>& scale, V<S> dbeta, V<S> dgamma)
        : factor(scale.gamma * scale.r), e1(dbeta / S(m.pixels())), eh(dgamma / S(m.pixels())) {}
    inline V<S> dx(V<S> e, V<S> h) const { return factor * (e - e1 - h * eh); }
};

// plus, where there is one, is added to dx.
template <class S, bool Pool>
void norm_backward(
    const Maps& m, const S* x, const S* gamma, const S* beta, const S* mean, const S* r, const S* dy, const S* plus,
    S* dx, S* dgamma, S* dbeta
) {
    over_tasks<S>(m, [&](long t, long first, int vectors) {
        backward_sums<S, Pool>(m, t, first, vectors, x, gamma, beta, mean, r, dy, dgamma, dbeta);
        const long all = t * m.pixels() * m.channels + first, stat = t * m.channels + first, channels = m.channels;
        const S* gradient = dy + t * m.out_pixels() * channels + first;
        over_lines<S, Pool>(m, vectors, [&](long line, int, long c) {
            const Scale<S> scale = scale_of(stat + c, gamma, beta, mean, r);
            const Backward<S> back(m, scale, at(dbeta + stat + c), at(dgamma + stat + c));
            visit<S, Pool>(m, line, x + all + c, scale, [&](long p, long q, V<S> from, V<S> h) {
                const V<S> e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * channels + c);
                const long place = all + p * channels + c;
                at(dx + place) = plus ? back.dx(e, h) + at(plus + place) : back.dx(e, h);
            });
        });
    });
}

template <class S, bool Pool>
void norm_double(
    const Maps& m, const S* x, const S* gamma, const S* beta, const S* mean, const S* r, const S* dy, const S* u,
    const S* a, const S* b, S* ddy, S* dgamma, S* dx
) {
    over_tasks<S>(m, [&](long t, long first, int vectors) {
        const long all = t * m.pixels() * m.channels + first, stat = t * m.channels + first, channels = m.channels;
        const S* gradient = dy + t * m.out_pixels() * channels + first;
        S* result = ddy + t * m.out_pixels() * channels + first;
        Sums<S, 5> sums[kTogether];
        over_lines<S, Pool>(m, vectors, [&](long line, int w, long c) {
            Sums<S, 5> sum = sums[w];
            const Scale<S> scale = scale_of(stat + c, gamma, beta, mean, r);
            visit<S, Pool>(m, line, x + all + c, scale, [&](long p, long q, V<S> from, V<S> h) {
                const V<S> v = at(u + all + p * channels + c);
                const V<S> e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * channels + c);
                sum.part[0] += v, sum.part[1] += v * h, sum.part[2] += e, sum.part[3] += e * h, sum.part[4] += v * e;
                sum.step();
            });
            sums[w] = sum;
        });
        for (int w = 0; w < vectors; ++w) sums[w].put();
        over_lines<S, Pool>(m, vectors, [&](long line, int w, long c) {
            const S count = S(m.pixels());
            const V<S>* total = sums[w].total;
            const V<S> u1 = total[0] / count, uh = total[1] / count, e1 = total[2] / count, eh = total[3] / count,
                       ue = total[4] / count;
            const Scale<S> scale = scale_of(stat + c, gamma, beta, mean, r);
            const V<S> along = at(a + stat + c), offset = at(b + stat + c), factor = scale.gamma * scale.r;
            const V<S> spread = ue - u1 * e1 - uh * eh;
            at(dgamma + stat + c) = scale.r * count * spread;
            // k = along e - factor (u eh + e uh); its means, and dx, are linear in u, e and h
            const V<S> ku = -factor * eh, ke = along - factor * uh;
            const V<S> k1 = ku * u1 + ke * e1, kh = ku * uh + ke * eh;
            const V<S> on_h = -scale.r * (kh + factor * spread);
            visit<S, Pool>(m, line, x + all + c, scale, [&](long p, long q, V<S> from, V<S> h) {
                const V<S> v = at(u + all + p * channels + c);
                const V<S> e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * channels + c);
                at(dx + all + p * channels + c) = scale.r * (ku * v + ke * e - k1) + on_h * h;
                if (Pool && q < 0) return;
                const V<S> found = from * (factor * (v - u1 - h * uh) + along * h + offset);
                // of the four pixels below one pooled pixel at most one is where it came from
                V<S>& to = at(result + q * channels + c);
                if constexpr (Pool) {
                    const bool opens = p % m.wide % 2 == 0 && p / m.wide % m.high % 2 == 0;
                    to = opens ? found : to + found;
                } else
                    to = found;
            });
        });
    });
}

}  // namespace
