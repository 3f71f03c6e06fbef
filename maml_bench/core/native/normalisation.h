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

// Visits every pixel of one task once: call(pixel of x, pixel of y or -1, whether it is where y comes from, as a mask
// of ones and zeros, its h). Pixels that pooling leaves out have no y.
template <class S, bool Pool, class F>
inline void visit(const Maps& m, const S* x, const Scale<S>& scale, F call) {
    const V<S> one = V<S>{} + S(1);
    if constexpr (!Pool) {
        for (long p = 0; p < m.pixels(); ++p) {
            const V<S> h = scale.h(at(x + p * m.channels)), z = scale.z(h);
            call(p, p, z <= 0 ? V<S>{} : one, h);
        }
    } else {
        for (long n = 0; n < m.images; ++n)
            for (long y = 0; y < m.high; y += 2)
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
}

template <class S, class F>
inline void over_tasks(const Maps& m, F call) {
#pragma omp parallel for collapse(2) schedule(static)
    for (long t = 0; t < m.tasks; ++t)
        for (long c = 0; c < m.channels; c += Lanes<S>::n) call(t, c);
}

template <class S, bool Pool>
void norm(const Maps& m, S eps, const S* x, const S* gamma, const S* beta, S* y, S* mean, S* r) {
    over_tasks<S>(m, [&](long t, long c) {
        const S* in = x + t * m.pixels() * m.channels + c;
        S* out = y + t * m.out_pixels() * m.channels + c;
        const long stat = t * m.channels + c, few = std::min<long>(m.pixels(), 64);
        V<S> near = {};  // a value close to the mean, from which squares lose no digits
        for (long p = 0; p < few; ++p) near += at(in + p * m.channels);
        near /= S(few);
        Sums<S, 2> sums;
        for (long p = 0; p < m.pixels(); ++p, sums.step()) {
            const V<S> off = at(in + p * m.channels) - near;
            sums.part[0] += off, sums.part[1] += off * off;
        }
        sums.put();
        const V<S> shift = sums.total[0] / S(m.pixels()), var = sums.total[1] / S(m.pixels()) - shift * shift;
        Scale<S> scale{near + shift, {}, at(gamma + stat), at(beta + stat)};
        for (int i = 0; i < Lanes<S>::n; ++i) scale.r[i] = S(1) / std::sqrt(std::max(var[i], S(0)) + eps);
        at(mean + stat) = scale.mean, at(r + stat) = scale.r;
        const V<S> zero = {};
        if constexpr (!Pool) {
            for (long p = 0; p < m.pixels(); ++p) {
                const V<S> z = scale.z(scale.h(at(in + p * m.channels)));
                at(out + p * m.channels) = z < 0 ? zero : z;
            }
        } else {
            for (long n = 0; n < m.images; ++n)
                for (long v = 0; v < m.out_high(); ++v)
                    for (long u = 0; u < m.out_wide(); ++u, out += m.channels) {
                        const S* from = in + ((n * m.high + 2 * v) * m.wide + 2 * u) * m.channels;
                        V<S> top = zero;
                        for (long i = 0; i < 4; ++i) {
                            const V<S> z = scale.z(scale.h(at(from + (i / 2 * m.wide + i % 2) * m.channels)));
                            top = z <= top ? top : z;
                        }
                        at(out) = top;
                    }
        }
    });
}

template <class S, bool Pool>
void norm_backward(
    const Maps& m, const S* x, const S* gamma, const S* beta, const S* mean, const S* r, const S* dy, S* dx, S* dgamma,
    S* dbeta
) {
    over_tasks<S>(m, [&](long t, long c) {
        const long all = t * m.pixels() * m.channels + c, stat = t * m.channels + c, channels = m.channels;
        const S* gradient = dy + t * m.out_pixels() * channels + c;
        const Scale<S> scale{at(mean + stat), at(r + stat), at(gamma + stat), at(beta + stat)};
        Sums<S, 2> sums;
        visit<S, Pool>(m, x + all, scale, [&](long, long q, V<S> from, V<S> h) {
            if (Pool && q < 0) return;
            const V<S> e = from * at(gradient + q * channels);
            sums.part[0] += e, sums.part[1] += e * h;
            sums.step();
        });
        sums.put();
        at(dbeta + stat) = sums.total[0], at(dgamma + stat) = sums.total[1];
        const V<S> factor = scale.gamma * scale.r, e1 = sums.total[0] / S(m.pixels()), eh = sums.total[1] / S(m.pixels());
        visit<S, Pool>(m, x + all, scale, [&](long p, long q, V<S> from, V<S> h) {
            const V<S> e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * channels);
            at(dx + all + p * channels) = factor * (e - e1 - h * eh);
        });
    });
}

template <class S, bool Pool>
void norm_double(
    const Maps& m, const S* x, const S* gamma, const S* beta, const S* mean, const S* r, const S* dy, const S* u,
    const S* a, const S* b, S* ddy, S* dgamma, S* dx
) {
    over_tasks<S>(m, [&](long t, long c) {
        const long all = t * m.pixels() * m.channels + c, stat = t * m.channels + c, channels = m.channels;
        const S* gradient = dy + t * m.out_pixels() * channels + c;
        S* result = ddy + t * m.out_pixels() * channels + c;
        const Scale<S> scale{at(mean + stat), at(r + stat), at(gamma + stat), at(beta + stat)};
        Sums<S, 5> sums;
        visit<S, Pool>(m, x + all, scale, [&](long p, long q, V<S> from, V<S> h) {
            const V<S> v = at(u + all + p * channels), e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * channels);
            sums.part[0] += v, sums.part[1] += v * h, sums.part[2] += e, sums.part[3] += e * h, sums.part[4] += v * e;
            sums.step();
        });
        sums.put();
        const S count = S(m.pixels());
        const V<S> u1 = sums.total[0] / count, uh = sums.total[1] / count, e1 = sums.total[2] / count,
                   eh = sums.total[3] / count, ue = sums.total[4] / count;
        const V<S> along = at(a + stat), offset = at(b + stat), factor = scale.gamma * scale.r;
        const V<S> spread = ue - u1 * e1 - uh * eh;
        at(dgamma + stat) = scale.r * count * spread;
        // k = along e - factor (u eh + e uh); its means, and dx, are linear in u, e and h
        const V<S> ku = -factor * eh, ke = along - factor * uh;
        const V<S> k1 = ku * u1 + ke * e1, kh = ku * uh + ke * eh;
        const V<S> on_h = -scale.r * (kh + factor * spread);
        visit<S, Pool>(m, x + all, scale, [&](long p, long q, V<S> from, V<S> h) {
            const V<S> v = at(u + all + p * channels), e = Pool && q < 0 ? V<S>{} : from * at(gradient + q * channels);
            at(dx + all + p * channels) = scale.r * (ku * v + ke * e - k1) + on_h * h;
            if (Pool && q < 0) return;
            const V<S> found = from * (factor * (v - u1 - h * uh) + along * h + offset);
            // of the four pixels below one pooled pixel at most one is where it came from
            if constexpr (Pool) {
                const bool opens = p % m.wide % 2 == 0 && p / m.wide % m.high % 2 == 0;
                at(result + q * channels) = opens ? found : at(result + q * channels) + found;
            } else
                at(result + q * channels) = found;
        });
    });
}

}  // namespace
