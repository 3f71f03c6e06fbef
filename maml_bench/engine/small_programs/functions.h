// Functions of torch that the standard library lacks. A NaN stays one. Operands of a choice are values, not expressions,
// because the compiler vectorises a choice only if it may compute both sides.

#pragma once

#include <cmath>
#include <cstdint>

namespace {

template <class S>
inline S square(S x) { return x * x; }
template <class S>
inline S at_least(S x, S bound) { return x < bound ? bound : x; }
template <class S>
inline S at_most(S x, S bound) { return x > bound ? bound : x; }
template <class S>
inline S relu(S x) { return x < 0 ? S(0) : x; }
template <class S>
inline S kept_above(S x, S place, S bound) { return place <= bound ? S(0) : x; }
template <class S>
inline S chosen(bool first, S x, S y) { return first ? x : y; }
template <class S>
inline S smaller(S x, S y) { return x < y || x != x ? x : y; }
template <class S>
inline S larger(S x, S y) { return x > y || x != x ? x : y; }
inline int64_t remainder_of(int64_t x, int64_t y) { return (x % y + y) % y; }
template <class S>
inline S remainder_of(S x, S y) {
    const S rest = std::fmod(x, y);
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
template <class S>
inline S sign_of(S x) { return S((x > 0) - (x < 0)); }
template <class S>
inline S slope_of_sigmoid(S y) { return (1 - y) * y; }

}  // namespace
