// What the kernels share: vectors of channels, maps, and work spread over XLA's threads.

#ifndef CNN_JAX_VECTORS_H_
#define CNN_JAX_VECTORS_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace cnn_jax {

namespace ffi = xla::ffi;

#if defined(CNN_JAX_LANES)
constexpr int kLanes = CNN_JAX_LANES;
#elif defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kPanel = 2 * kLanes;           // channels in a tile, or half of it where no more are left
constexpr int kSums = 12;                    // vectors of sums in a tile: what 16 registers hold beside the operands

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float Unaligned __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(kLanes * sizeof(uint16_t)), aligned(sizeof(uint16_t)), may_alias));

// bfloat16: the upper half of a float's bits.
struct Half {
  uint16_t bits;
};

inline Vector Load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline Vector Load(const Half* from) {
  return reinterpret_cast<Vector>(__builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16);
}

// The first `count` values, or all; zeros beyond.
inline Vector LoadFirst(const float* from, int64_t count) {
  if (count >= kLanes) return Load(from);
  Vector value = {};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

inline void Store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
inline void Store(Half* to, Vector value) {  // to the nearest, ties to even; not a number stays so
  const Words bits = reinterpret_cast<Words>(value), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  *reinterpret_cast<Halves*>(to) = __builtin_convertvector(value == value ? rounded : bits >> 16 | 0x40, Halves);
}

// Stores the first `count` values of a vector, or all.
template <typename T>
void StoreFirst(T* to, Vector value, int64_t count) {
  if (count >= kLanes) return Store(to, value);
  T values[kLanes];
  Store(values, value);
  std::memcpy(to, values, count * sizeof(T));
}

inline float ToFloat(float value) { return value; }
inline float ToFloat(Half value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

inline void Copy(const float* from, int64_t count, float* to) { std::memcpy(to, from, count * sizeof(float)); }
inline void Copy(const Half* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(to + i, Load(from + i));
  for (; i < count; ++i) to[i] = ToFloat(from[i]);
}

inline int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Calls work(0) ... work(count - 1), each once, on the caller's thread and those of the pool that are free. The caller
// waits only for work that has begun, so that callers which themselves fill the pool cannot wait for each other.
template <typename Work>
void Parallel(ffi::ThreadPool& pool, int64_t count, const Work& work) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto shared = std::make_shared<Shared>();
  auto run = [shared, count, &work] {
    for (int64_t i; (i = shared->next.fetch_add(1)) < count;) {
      work(i);
      shared->done.fetch_add(1);
      shared->done.notify_one();
    }
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(std::decay_t<decltype(run)>(run));
  run();
  for (int64_t done; (done = shared->done.load()) < count;) shared->done.wait(done);
}

template <int n>
using Constant = std::integral_constant<int, n>;

// Calls tile(n as a constant, first) for first = 0, n, 2 n, ...: tiles of `largest`, and of halves of it for the rest.
template <int largest, typename Tile>
void Tiles(int64_t count, const Tile& tile, int64_t first = 0) {
  for (; first + largest <= count; first += largest) tile(Constant<largest>(), first);
  if constexpr (largest > 1) {
    if (first < count) Tiles<largest / 2>(count, tile, first);
  }
}

// Tiles with all the sums that the vectors of channels leave room for; a panel may need only its first vector.
template <typename Tile>
void PanelTiles(int64_t channels, int64_t count, const Tile& tile) {
  if (channels > kLanes) {
    Tiles<kSums / 2>(count, [&](auto size, int64_t first) { tile(Constant<2>(), size, first); });
  } else {
    Tiles<kSums>(count, [&](auto size, int64_t first) { tile(Constant<1>(), size, first); });
  }
}

// A map (batch, height, width, channels).
struct Map {
  int64_t batch, height, width, channels;
  int64_t RowFloats() const { return width * channels; }
  int64_t ImageFloats() const { return height * RowFloats(); }
};

inline Map MapOf(ffi::Span<const int64_t> dimensions) {
  return {dimensions[0], dimensions[1], dimensions[2], dimensions[3]};
}

}  // namespace cnn_jax

#endif  // CNN_JAX_VECTORS_H_
