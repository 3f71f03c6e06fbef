// Kernels of a convolution block for many tasks at once, on CPUs: 3x3 convolution (padding 1, stride 1 or 2) with its
// two derivatives, and batch normalisation + ReLU (+ 2x2 max-pooling) with its derivative and the derivative of that.
//
// Layouts, all contiguous: maps [task, image, y, x, channel], filters [task, ky, kx, in, out], statistics
// [task, channel]. Every task has filters and statistics of its own. Channels innermost are what fills the vector
// registers; one task's maps fit the second-level cache, which is why tasks are the parallel axis.
//
// direct.h has the convolution as it is defined, winograd.h and winograd_strided.h have shorter ways to the same result.
//
// A plain C interface: no torch header, so that building takes seconds. S is float or double.

#include "first_layer.h"

namespace {

// y[i] = sum over rows of x[row, i]: adapted parameters of all tasks to the shared ones.
template <class S>
void sum_first(long rows, long count, const S* x, S* y) {
    constexpr long step = 1024;
#pragma omp parallel for schedule(static)
    for (long start = 0; start < count; start += step) {
        const long end = std::min(count, start + step);
        std::copy(x + start, x + end, y + start);
        for (long row = 1; row < rows; ++row)
            for (long i = start; i < end; ++i) y[i] += x[row * count + i];
    }
}

}  // namespace

#define KERNELS(name, S)                                                                                               \
    extern "C" void sum_first_##name(const long* s, const S* x, S* y) { sum_first<S>(s[0], s[1], x, y); }              \
    extern "C" void conv_##name(const long* s, const S* x, const S* w, S* y) {                                         \
        convolution<S>(s[0], {s[1], s[2], s[3], s[4], s[5], s[6]}, x, w, y);                                           \
    }                                                                                                                  \
    extern "C" void conv_input_##name(const long* s, const S* g, const S* w, S* d) {                                   \
        convolution_input<S>(s[0], {s[1], s[2], s[3], s[4], s[5], s[6]}, g, w, d);                                     \
    }                                                                                                                  \
    extern "C" void conv_filter_##name(const long* s, const S* x, const S* g, S* d) {                                  \
        convolution_filter<S>(s[0], {s[1], s[2], s[3], s[4], s[5], s[6]}, x, g, d);                                    \
    }                                                                                                                  \
    extern "C" void norm_##name(                                                                                       \
        const long* s, double eps, const S* x, const S* gamma, const S* beta, S* y, S* mean, S* r                      \
    ) {                                                                                                                \
        const Maps m{s[0], s[1], s[2], s[3], s[4], int(s[5])};                                                         \
        m.pool ? norm<S, true>(m, S(eps), x, gamma, beta, y, mean, r)                                                  \
               : norm<S, false>(m, S(eps), x, gamma, beta, y, mean, r);                                                \
    }                                                                                                                  \
    extern "C" void norm_backward_##name(                                                                              \
        const long* s, const S* x, const S* gamma, const S* beta, const S* mean, const S* r, const S* dy,              \
        const S* plus, S* dx, S* dgamma, S* dbeta                                                                      \
    ) {                                                                                                                \
        const Maps m{s[0], s[1], s[2], s[3], s[4], int(s[5])};                                                         \
        m.pool ? norm_backward<S, true>(m, x, gamma, beta, mean, r, dy, plus, dx, dgamma, dbeta)                       \
               : norm_backward<S, false>(m, x, gamma, beta, mean, r, dy, plus, dx, dgamma, dbeta);                     \
    }                                                                                                                  \
    extern "C" void first_layer_##name(                                                                                \
        const long* s, const S* image, const S* x, const S* gamma, const S* beta, const S* mean, const S* r,           \
        const S* dy, const S* plus, S* dfilter, S* dgamma, S* dbeta                                                    \
    ) {                                                                                                                \
        const Size size{s[1], s[2], s[3], s[4], s[5], s[6]};                                                           \
        const Maps m{s[0], s[1], size.rows(), size.columns(), s[5], int(s[7])};                                        \
        m.pool ? first_layer<S, true>(m, size, image, x, gamma, beta, mean, r, dy, plus, dfilter, dgamma, dbeta)       \
               : first_layer<S, false>(m, size, image, x, gamma, beta, mean, r, dy, plus, dfilter, dgamma, dbeta);     \
    }                                                                                                                  \
    extern "C" void norm_double_##name(                                                                                \
        const long* s, const S* x, const S* gamma, const S* beta, const S* mean, const S* r, const S* dy, const S* u,  \
        const S* a, const S* b, S* ddy, S* dgamma, S* dx                                                               \
    ) {                                                                                                                \
        const Maps m{s[0], s[1], s[2], s[3], s[4], int(s[5])};                                                         \
        m.pool ? norm_double<S, true>(m, x, gamma, beta, mean, r, dy, u, a, b, ddy, dgamma, dx)                        \
               : norm_double<S, false>(m, x, gamma, beta, mean, r, dy, u, a, b, ddy, dgamma, dx);                      \
    }
KERNELS(f32, float)
KERNELS(f64, double)
