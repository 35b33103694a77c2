// Winograd's convolutions of 3x3 kernels and stride 1, F(4x4, 3x3): Lavin and Gray 2016
// (https://arxiv.org/abs/1509.09308). A tile of 4x4 results, seen as values of a product of polynomials at the points 0,
// -a, a, -b, b and infinity in both directions, costs 36 multiplications a pair of channels where the definition has 144.
//
// Points of 3/4 and 3/2 in place of their 1 and 2 halve the error, see experiments/results/benchmark.
//
// Of both products the places, 36 of them, are each a matrix product over channels (or, for the kernel gradient, tiles):
// those of the input are (places, tiles, C), of the kernel (places, panels of D, C), of the result (places, tiles, D).

#ifndef CNN_JAX_WINOGRAD_H_
#define CNN_JAX_WINOGRAD_H_

#include "vectors.h"

namespace cnn_jax::winograd {

constexpr int kIn = 6, kOut = 4, kKernel = 3;  // pixels a side of a tile, of its result, of the kernel
constexpr int kPlaces = kIn * kIn;
constexpr float kA = 0.75f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;
constexpr float kWeight0 = 1 / (kA2 * kB2), kWeightA = 1 / (2 * kA2 * (kA2 - kB2)), kWeightB = 1 / (2 * kB2 * (kB2 - kA2));
constexpr int64_t kBlockBytes = 192 * 1024;       // of a thread's tiles of a convolution: they stay in its second cache
constexpr int64_t kSharedBytes = 2 * 1024 * 1024;  // of the tiles that all threads add to a kernel gradient
constexpr int64_t kProductBytes = 64 * 1024;      // of the tiles that are added at once: they stay in the first cache

// The transforms in one direction, of values `step` apart: of input pixels, kernel pixels, results and, each the
// transpose of another, of the cotangent of the results and of the kernel's places.

inline void InputPlaces(const Vector* d, int step, Vector* to, int to_step) {
  const Vector d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
  const Vector even_a = d4 - kB2 * d2, odd_a = d3 - kB2 * d1, even_b = d4 - kA2 * d2, odd_b = d3 - kA2 * d1;
  to[0] = kA2 * kB2 * d[0] - (kA2 + kB2) * d2 + d4;
  to[to_step] = even_a + kA * odd_a;
  to[2 * to_step] = even_a - kA * odd_a;
  to[3 * to_step] = even_b + kB * odd_b;
  to[4 * to_step] = even_b - kB * odd_b;
  to[5 * to_step] = kA2 * kB2 * d1 - (kA2 + kB2) * d3 + d[5 * step];
}

inline void KernelPlaces(const Vector* g, int step, Vector* to, int to_step) {
  const Vector g0 = g[0], g1 = g[step], g2 = g[2 * step];
  const Vector even_a = kWeightA * (g0 + kA2 * g2), even_b = kWeightB * (g0 + kB2 * g2);
  to[0] = kWeight0 * g0;
  to[to_step] = even_a + kWeightA * kA * g1;
  to[2 * to_step] = even_a - kWeightA * kA * g1;
  to[3 * to_step] = even_b + kWeightB * kB * g1;
  to[4 * to_step] = even_b - kWeightB * kB * g1;
  to[5 * to_step] = g2;
}

inline void Results(const Vector* m, int step, Vector* to, int to_step) {
  const Vector sum_a = m[step] + m[2 * step], difference_a = m[step] - m[2 * step];
  const Vector sum_b = m[3 * step] + m[4 * step], difference_b = m[3 * step] - m[4 * step];
  to[0] = m[0] + sum_a + sum_b;
  to[to_step] = kA * difference_a + kB * difference_b;
  to[2 * to_step] = kA2 * sum_a + kB2 * sum_b;
  to[3 * to_step] = kA2 * kA * difference_a + kB2 * kB * difference_b + m[5 * step];
}

inline void CotangentPlaces(const Vector* y, int step, Vector* to, int to_step) {
  const Vector y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
  const Vector even_a = y0 + kA2 * y2, odd_a = y1 + kA2 * y3, even_b = y0 + kB2 * y2, odd_b = y1 + kB2 * y3;
  to[0] = y0;
  to[to_step] = even_a + kA * odd_a;
  to[2 * to_step] = even_a - kA * odd_a;
  to[3 * to_step] = even_b + kB * odd_b;
  to[4 * to_step] = even_b - kB * odd_b;
  to[5 * to_step] = y3;
}

inline void KernelGradients(const Vector* u, int step, Vector* to, int to_step) {
  const Vector sum_a = kWeightA * (u[step] + u[2 * step]), difference_a = kWeightA * (u[step] - u[2 * step]);
  const Vector sum_b = kWeightB * (u[3 * step] + u[4 * step]), difference_b = kWeightB * (u[3 * step] - u[4 * step]);
  to[0] = kWeight0 * u[0] + sum_a + sum_b;
  to[to_step] = kA * difference_a + kB * difference_b;
  to[2 * to_step] = kA2 * sum_a + kB2 * sum_b + u[5 * step];
}

// Tiles of a map, consecutive over its images: tile number -> its image, and the pixel that it begins at.
struct Grid {
  int64_t rows, columns, count;

  Grid(int64_t batch, int64_t height, int64_t width)
      : rows((height + kOut - 1) / kOut), columns((width + kOut - 1) / kOut), count(batch * rows * columns) {}

  struct Place {
    int64_t image, y, x;
  };
  Place At(int64_t tile) const {
    return {tile / (rows * columns), tile / columns % rows * kOut, tile % columns * kOut};
  }
};

// A square of pixels: its first, and the floats from row to row and from pixel to pixel.
template <typename T>
struct Square {
  const T* first;
  int64_t row, pixel;
};

// The `side` x `side` pixels of a map from (y, x) on, zeros beyond its edges and in the channels beyond its own. Those
// that are not all in the map, or whose channels fill no vectors, are copied into `buffer`.
template <typename T>
Square<T> SquareAt(const T* map, const Map& shape, int64_t image, int64_t y, int64_t x, int side,
                   std::vector<T>& buffer) {
  const bool inside = y >= 0 && x >= 0 && y + side <= shape.height && x + side <= shape.width;
  const T* pixels = map + image * shape.ImageFloats();
  if (inside && shape.channels % kLanes == 0)
    return {pixels + y * shape.RowFloats() + x * shape.channels, shape.RowFloats(), shape.channels};
  const int64_t pixel = RoundUp(shape.channels, kLanes);
  buffer.assign(side * side * pixel, T());
  const int64_t first = std::max<int64_t>(0, -x), last = std::min<int64_t>(side, shape.width - x);
  for (int64_t i = std::max<int64_t>(0, -y); i < std::min<int64_t>(side, shape.height - y); ++i)
    for (int64_t j = first; j < last; ++j)
      std::memcpy(&buffer[(i * side + j) * pixel], pixels + (y + i) * shape.RowFloats() + (x + j) * shape.channels,
                  shape.channels * sizeof(T));
  return {buffer.data(), side * pixel, pixel};
}

// The floats from a tile's channels to the next tile's, and from a place to the next of so many tiles: where they would
// be a multiple of a large power of two, all would lie in the same few sets of the cache.
inline int64_t TileFloats(int64_t channels) { return RoundUp(channels, kLanes); }
inline int64_t PlaceFloats(int64_t tiles, int64_t channels) { return tiles * TileFloats(channels) + 16; }

// Writes the places of a square of `side` pixels: place p, channel c at to[p * place_floats + c].
template <int side, typename T, typename Transform>
void Transformed(const Square<T>& square, int64_t channels, float* to, int64_t place_floats, const Transform& transform) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vector pixels[side * side], rows[kIn * side], column[kIn];
    for (int i = 0; i < side; ++i)
      for (int j = 0; j < side; ++j) pixels[i * side + j] = Load(square.first + i * square.row + j * square.pixel + c);
    for (int j = 0; j < side; ++j) transform(pixels + j, side, rows + j, side);
    for (int i = 0; i < kIn; ++i) {
      transform(rows + i * side, 1, column, 1);
      for (int j = 0; j < kIn; ++j) Store(to + (i * kIn + j) * place_floats + c, column[j]);
    }
  }
}

// to[i] = from[i] times a panel of the kernel (length, kPanel), for kRows tiles i.
template <int kVectors, int kRows>
void ProductTile(const float* from, int64_t from_floats, int64_t length, const float* panel, float* to,
                 int64_t to_floats) {
  Vector sum[kRows][kVectors] = {};
  for (int64_t k = 0; k < length; ++k, panel += kPanel) {
    Vector weights[kVectors];
    for (int v = 0; v < kVectors; ++v) weights[v] = Load(panel + v * kLanes);
    for (int i = 0; i < kRows; ++i)
      for (int v = 0; v < kVectors; ++v) sum[i][v] += from[i * from_floats + k] * weights[v];
  }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) Store(to + i * to_floats + v * kLanes, sum[i][v]);
}

// sum[i] += from[t][i] times with[t], over `tiles` tiles t, for kRows channels i.
template <int kVectors, int kRows>
void SumTile(const float* from, int64_t from_floats, const float* with, int64_t with_floats, int64_t tiles, float* to,
             int64_t to_floats) {
  Vector sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Load(to + i * to_floats + v * kLanes);
  for (int64_t t = 0; t < tiles; ++t, from += from_floats, with += with_floats) {
    Vector values[kVectors];
    for (int v = 0; v < kVectors; ++v) values[v] = Load(with + v * kLanes);
    for (int i = 0; i < kRows; ++i)
      for (int v = 0; v < kVectors; ++v) sum[i][v] += from[i] * values[v];
  }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) Store(to + i * to_floats + v * kLanes, sum[i][v]);
}

// The kernel's places as panels (36, ceil(D / kPanel), C, kPanel), zeros in the channels beyond D.
template <typename At>
std::vector<float> KernelPanels(ffi::ThreadPool& pool, int64_t in_channels, int64_t out_channels, const At& at) {
  const int64_t panels = (out_channels + kPanel - 1) / kPanel, place_floats = panels * in_channels * kPanel;
  std::vector<float> places(kPlaces * place_floats);
  Parallel(pool, panels, [&](int64_t panel) {
    for (int64_t c = 0; c < in_channels; ++c) {
      alignas(Vector) float kernel[kKernel * kKernel][kPanel] = {};
      const int64_t count = std::min<int64_t>(kPanel, out_channels - panel * kPanel);
      for (int i = 0; i < kKernel; ++i)
        for (int j = 0; j < kKernel; ++j)
          for (int64_t d = 0; d < count; ++d) kernel[i * kKernel + j][d] = at(i, j, c, panel * kPanel + d);
      const Square<float> square = {kernel[0], kKernel * kPanel, kPanel};
      Transformed<kKernel>(square, kPanel, places.data() + (panel * in_channels + c) * kPanel, place_floats,
                           KernelPlaces);
    }
  });
  return places;
}

// Writes the results of the tiles [first, first + tiles) of a grid from their places.
template <typename T>
void WriteResults(const std::vector<float>& places, int64_t place_floats, const Grid& grid, int64_t first,
                  int64_t tiles, T* output, const Map& out) {
  const int64_t row_floats = TileFloats(out.channels);
  for (int64_t t = 0; t < tiles; ++t) {
    const auto at = grid.At(first + t);
    const int64_t height = std::min<int64_t>(kOut, out.height - at.y), width = std::min<int64_t>(kOut, out.width - at.x);
    T* to = output + at.image * out.ImageFloats() + at.y * out.RowFloats() + at.x * out.channels;
    for (int64_t d = 0; d < out.channels; d += kLanes) {
      Vector columns[kOut * kIn], results[kOut * kOut];
      const float* from = places.data() + t * row_floats + d;
      for (int j = 0; j < kIn; ++j) {
        Vector column[kIn];
        for (int i = 0; i < kIn; ++i) column[i] = Load(from + (i * kIn + j) * place_floats);
        Results(column, 1, columns + j, kIn);
      }
      for (int i = 0; i < kOut; ++i) Results(columns + i * kIn, 1, results + i * kOut, 1);
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < width; ++j)
          StoreFirst(to + i * out.RowFloats() + j * out.channels + d, results[i * kOut + j], out.channels - d);
    }
  }
}

// Correlates a map with a kernel, given by its panels, with `padding` zeros around the map.
template <typename T>
void Correlate(ffi::ThreadPool& pool, const T* input, const Map& in, int64_t padding, const std::vector<float>& panels,
               T* output, const Map& out) {
  const Grid grid(out.batch, out.height, out.width);
  const int64_t in_floats = TileFloats(in.channels), out_floats = TileFloats(out.channels);
  const int64_t fewest = std::clamp<int64_t>(in.channels * out.channels / 512, 12, 96);  // that the kernel is read for
  const int64_t most = std::max<int64_t>(fewest, kBlockBytes / ((in_floats + out_floats) * kPlaces * sizeof(float)));
  const int64_t tiles = most / 12 * 12;
  const int64_t in_place = PlaceFloats(tiles, in.channels), out_place = PlaceFloats(tiles, out.channels);
  const int64_t panel_floats = in.channels * kPanel, panel_place = panels.size() / kPlaces;
  Parallel(pool, (grid.count + tiles - 1) / tiles, [&](int64_t block) {
    thread_local std::vector<T> buffer;
    thread_local std::vector<float> from, to;
    from.resize(std::max<size_t>(from.size(), kPlaces * in_place));
    to.resize(std::max<size_t>(to.size(), kPlaces * out_place));
    const int64_t first = block * tiles, count = std::min(tiles, grid.count - first);
    for (int64_t t = 0; t < count; ++t) {
      const auto at = grid.At(first + t);
      const auto square = SquareAt(input, in, at.image, at.y - padding, at.x - padding, kIn, buffer);
      Transformed<kIn>(square, in.channels, from.data() + t * in_floats, in_place, InputPlaces);
    }
    for (int place = 0; place < kPlaces; ++place)
      for (int64_t d = 0; d < out.channels; d += kPanel) {
        const float* panel = panels.data() + place * panel_place + d / kPanel * panel_floats;
        PanelTiles(out.channels - d, count, [&](auto vectors, auto size, int64_t t) {
          ProductTile<vectors, size>(from.data() + place * in_place + t * in_floats, in_floats, in.channels, panel,
                                     to.data() + place * out_place + t * out_floats + d, out_floats);
        });
      }
    WriteResults(to, out_place, grid, first, count, output, out);
  });
}

// The gradient by the kernel (3, 3, C, D) of a convolution with `padding` zeros around the input.
template <typename T>
void KernelGradient(ffi::ThreadPool& pool, const T* input, const Map& in, const T* cotangent, const Map& out,
                    int64_t padding, T* gradient) {
  constexpr int64_t kUnit = 8;  // tiles that a thread transforms at once
  const Grid grid(out.batch, out.height, out.width);
  const int64_t in_floats = TileFloats(in.channels), out_floats = TileFloats(out.channels);
  const int64_t bytes = (in_floats + out_floats) * sizeof(float);
  const int64_t tiles = RoundUp(std::clamp<int64_t>(kSharedBytes / (bytes * kPlaces), 96, grid.count), kUnit);
  const int64_t in_place = PlaceFloats(tiles, in.channels), out_place = PlaceFloats(tiles, out.channels);
  const int64_t at_once = std::max<int64_t>(16, kProductBytes / bytes);
  const int64_t panels = (out.channels + kPanel - 1) / kPanel, sum_place = in.channels * out_floats;
  thread_local std::vector<float> from, with;
  from.resize(std::max<size_t>(from.size(), kPlaces * in_place));
  with.resize(std::max<size_t>(with.size(), kPlaces * out_place));
  std::vector<float> sums(kPlaces * sum_place);
  float *const inputs = from.data(), *const cotangents = with.data();  // the caller's own, of all threads
  for (int64_t begin = 0; begin < grid.count; begin += tiles) {
    const int64_t count = std::min(tiles, grid.count - begin);
    Parallel(pool, (count + kUnit - 1) / kUnit, [&](int64_t unit) {
      thread_local std::vector<T> buffer;
      for (int64_t t = unit * kUnit; t < std::min(count, (unit + 1) * kUnit); ++t) {
        const auto at = grid.At(begin + t);
        const auto seen = SquareAt(input, in, at.image, at.y - padding, at.x - padding, kIn, buffer);
        Transformed<kIn>(seen, in.channels, inputs + t * in_floats, in_place, InputPlaces);
        const auto results = SquareAt(cotangent, out, at.image, at.y, at.x, kOut, buffer);
        Transformed<kOut>(results, out.channels, cotangents + t * out_floats, out_place, CotangentPlaces);
      }
    });
    Parallel(pool, kPlaces * panels, [&](int64_t unit) {
      const int64_t place = unit / panels, d = unit % panels * kPanel;
      for (int64_t t = 0; t < count; t += at_once)
        PanelTiles(out.channels - d, in.channels, [&](auto vectors, auto size, int64_t c) {
          SumTile<vectors, size>(inputs + place * in_place + t * in_floats + c, in_floats,
                                 cotangents + place * out_place + t * out_floats + d, out_floats,
                                 std::min(at_once, count - t), sums.data() + place * sum_place + c * out_floats + d,
                                 out_floats);
        });
    });
  }
  Parallel(pool, in.channels, [&](int64_t c) {
    for (int64_t d = 0; d < out.channels; d += kLanes) {
      Vector rows[kKernel * kIn], kernel[kKernel * kKernel];
      for (int j = 0; j < kIn; ++j) {
        Vector column[kIn];
        for (int i = 0; i < kIn; ++i) column[i] = Load(&sums[(i * kIn + j) * sum_place + c * out_floats + d]);
        KernelGradients(column, 1, rows + j, kIn);
      }
      for (int i = 0; i < kKernel; ++i) KernelGradients(rows + i * kIn, 1, kernel + i * kKernel, 1);
      for (int p = 0; p < kKernel * kKernel; ++p)
        StoreFirst(gradient + (p * in.channels + c) * out.channels + d, kernel[p], out.channels - d);
    }
  });
}

// Whether it saves more multiplications than its transforms and the results beyond the map's edges cost.
inline bool Pays(const Map& in, const Map& out, const Map& kernel, int64_t stride) {
  if (kernel.batch != kKernel || kernel.height != kKernel || stride != 1 || in.channels < 8 || out.channels < 8)
    return false;
  const Grid grid(1, out.height, out.width);
  const int64_t multiplications = kPlaces * (in.channels * out.channels + 4 * (in.channels + out.channels));
  return 4 * grid.count * multiplications <= 3 * out.height * out.width * 9 * in.channels * out.channels;
}

}  // namespace cnn_jax::winograd

#endif  // CNN_JAX_WINOGRAD_H_
