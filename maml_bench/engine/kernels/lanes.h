// Vectors of the machine at hand, and the pieces of work that threads share.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>
#include <omp.h>

namespace {


#if defined(__AVX512F__)
constexpr int kBytes = 64, kAccumulators = 24;
#elif defined(__AVX__)
constexpr int kBytes = 32, kAccumulators = 12;
#else
constexpr int kBytes = 16, kAccumulators = 12;
#endif
constexpr int kPixels = 12;  // most pixels that one tile covers

template <class S>
struct Lanes {
    typedef S V __attribute__((vector_size(kBytes), aligned(sizeof(S)), may_alias));
    static constexpr int n = kBytes / sizeof(S);
};
template <class S>
using V = typename Lanes<S>::V;

template <class S>
inline V<S>& at(S* p) { return *reinterpret_cast<V<S>*>(p); }
template <class S>
inline const V<S>& at(const S* p) { return *reinterpret_cast<const V<S>*>(p); }

}  // namespace
