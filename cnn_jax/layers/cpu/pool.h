// The largest value of each window, and the linear maps that its derivatives are.
//
// A window's place is the number of the pixel that won it, row by row, among size x size: of equals the first, of values
// that are not numbers the last. `Take` reads a map at those places, `Spread`, its transpose, adds to them.

#ifndef CNN_JAX_POOL_H_
#define CNN_JAX_POOL_H_

#include "vectors.h"

namespace cnn_jax::pool {

typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef uint8_t Places __attribute__((vector_size(kLanes), aligned(1), may_alias));

struct Windows {
  int64_t size, stride, padding;
};

// The pixels [first, last) of a window, in one direction, that lie in the map; `start` is where the window begins.
struct Inside {
  int64_t start, first, last;

  Inside(const Windows& windows, int64_t result, int64_t pixels)
      : start(result * windows.stride - windows.padding),
        first(std::max<int64_t>(0, -start)),
        last(std::min(windows.size, pixels - start)) {}
};

// The largest of a window for a vector of channels, `at` their first pixel's; `width` floats a row of the map.
template <typename T>
std::pair<Vector, Ints> Largest(const T* at, const Inside& y, const Inside& x, const Windows& windows, int64_t width,
                                int64_t channels) {
  const T* row = at + (y.start + y.first) * width + x.start * channels;
  Vector best = Load(row + x.first * channels);
  Ints place = Ints{} + static_cast<int32_t>(y.first * windows.size + x.first);
  for (int64_t i = y.first; i < y.last; ++i, row += width)
    for (int64_t j = x.first; j < x.last; ++j) {
      const Vector value = Load(row + j * channels);
      const Ints wins = (value > best) | (value != value);
      best = wins ? value : best;
      place = wins ? Ints{} + static_cast<int32_t>(i * windows.size + j) : place;
    }
  return {best, place};
}

// Writes the largest of each window, and its place.
template <typename T>
void Max(ffi::ThreadPool& pool, const T* input, const Map& in, const Windows& windows, T* output, uint8_t* places,
         const Map& out) {
  Parallel(pool, out.batch * out.height, [&](int64_t row) {
    const Inside y(windows, row % out.height, in.height);
    const T* image = input + row / out.height * in.ImageFloats();
    for (int64_t column = 0; column < out.width; ++column) {
      const Inside x(windows, column, in.width);
      const int64_t to = row * out.RowFloats() + column * out.channels;
      int64_t c = 0;
      for (; c + kLanes <= in.channels; c += kLanes) {
        const auto [best, place] = Largest(image + c, y, x, windows, in.RowFloats(), in.channels);
        Store(output + to + c, best);
        *reinterpret_cast<Places*>(places + to + c) = __builtin_convertvector(place, Places);
      }
      for (; c < in.channels; ++c) {
        const T* from = image + (y.start + y.first) * in.RowFloats() + x.start * in.channels + c;
        T best = from[x.first * in.channels];
        uint8_t place = y.first * windows.size + x.first;
        for (int64_t i = y.first; i < y.last; ++i, from += in.RowFloats())
          for (int64_t j = x.first; j < x.last; ++j) {
            const T value = from[j * in.channels];
            const float number = ToFloat(value);
            if (number > ToFloat(best) || number != number) best = value, place = i * windows.size + j;
          }
        output[to + c] = best, places[to + c] = place;
      }
    }
  });
}

// Calls visit(offset in the map `in`, offset in the results) for each window and channel of an image.
template <typename Visit>
void EachPlace(const Map& in, const Map& out, const Windows& windows, int64_t image, const uint8_t* places,
               const Visit& visit) {
  std::vector<int64_t> offsets(windows.size * windows.size);
  for (int64_t i = 0; i < windows.size; ++i)
    for (int64_t j = 0; j < windows.size; ++j)
      offsets[i * windows.size + j] = i * in.RowFloats() + j * in.channels;
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      const int64_t at = image * out.ImageFloats() + y * out.RowFloats() + x * out.channels;
      const int64_t start = image * in.ImageFloats() + (y * windows.stride - windows.padding) * in.RowFloats() +
                            (x * windows.stride - windows.padding) * in.channels;
      for (int64_t c = 0; c < out.channels; ++c) visit(start + offsets[places[at + c]] + c, at + c);
    }
}

template <typename T>
void Take(ffi::ThreadPool& pool, const T* input, const Map& in, const uint8_t* places, const Windows& windows,
          T* output, const Map& out) {
  Parallel(pool, out.batch, [&](int64_t image) {
    EachPlace(in, out, windows, image, places, [&](int64_t from, int64_t to) { output[to] = input[from]; });
  });
}

template <typename T>
void Spread(ffi::ThreadPool& pool, const T* cotangent, const Map& out, const uint8_t* places, const Windows& windows,
            T* gradient, const Map& in) {
  Parallel(pool, in.batch, [&](int64_t image) {
    thread_local std::vector<float> sums;  // where windows overlap, of more than bfloat16 can hold
    sums.assign(in.ImageFloats(), 0.0f);
    const int64_t begin = image * in.ImageFloats();
    EachPlace(in, out, windows, image, places,
              [&](int64_t to, int64_t from) { sums[to - begin] += ToFloat(cotangent[from]); });
    for (int64_t i = 0; i < in.ImageFloats(); i += kLanes)
      StoreFirst(gradient + begin + i, LoadFirst(&sums[i], in.ImageFloats() - i), in.ImageFloats() - i);
  });
}

}  // namespace cnn_jax::pool

#endif  // CNN_JAX_POOL_H_
