// Vectors of the machine at hand, and memory that a thread keeps.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
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

// At least `count` values at a border of vectors, which this thread keeps for its next calls. Each `use` has its own.
template <class S, int use>
S* scratch(long count) {
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<S, Free> kept;
    thread_local long has = 0;
    if (has < count) {
        const std::size_t bytes = (std::size_t(count) * sizeof(S) + kBytes - 1) / kBytes * kBytes;
        kept.reset(static_cast<S*>(std::aligned_alloc(kBytes, bytes)));
        has = count;
    }
    return kept.get();
}

}  // namespace
