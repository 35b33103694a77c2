// Convolution and its two gradients on CPU, as XLA foreign functions.
//
// Maps are (B, H, W, C), kernels (f, f, C, D), float32, symmetric zero padding, one stride. In this layout the f * C
// values that an output pixel sees of one input row lie side by side, so each of the three is a sum over the f kernel
// rows of matrix products whose operands need no im2col: only the borders are copied, a block of rows at a time. The
// products are computed in register tiles (Goto and van de Geijn 2008, https://doi.org/10.1145/1356052.1356053).
//
// Every sum has a fixed order, whatever the number of threads: a resumed run repeats the same bits.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

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
constexpr int64_t kBlockBytes = 64 * 1024;   // of input and output worked on together, to stay in a core's cache
constexpr int64_t kBlockPixels = 128;        // at least, of a block of a kernel gradient
constexpr int64_t kParts = 16;               // sums over the batch of a kernel gradient, added in order
constexpr int64_t kPartFloats = 1 << 22;     // memory for them

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float Unaligned __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));

inline Vector Load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void Store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

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

// What one output pixel of a correlation reads: `rows` runs of `length` floats, `row_stride` apart.
struct Window {
  int64_t rows, length, row_stride;
};

// sums[i][channels] = the window at pixel[i], times a panel of the kernel (rows * length, kPanel).
template <int kVectors, int kPixels>
void PixelTile(const float* const* pixel, const Window& window, const float* panel, float* const* sums,
               int64_t channels) {
  Vector sum[kPixels][kVectors] = {};
  for (int64_t row = 0; row < window.rows; ++row) {
    const float* from[kPixels];
    for (int i = 0; i < kPixels; ++i) from[i] = pixel[i] + row * window.row_stride;
    for (int64_t k = 0; k < window.length; ++k, panel += kPanel) {
      Vector weights[kVectors];
      for (int v = 0; v < kVectors; ++v) weights[v] = Load(panel + v * kLanes);
      for (int i = 0; i < kPixels; ++i)
        for (int v = 0; v < kVectors; ++v) sum[i][v] += from[i][k] * weights[v];
    }
  }
  if (channels >= kVectors * kLanes) {
    for (int i = 0; i < kPixels; ++i)
      for (int v = 0; v < kVectors; ++v) Store(sums[i] + v * kLanes, sum[i][v]);
  } else {
    for (int i = 0; i < kPixels; ++i) std::memcpy(sums[i], sum[i], channels * sizeof(float));
  }
}

// gradient[i] += sum over pixels of window[i] times the pixel's panel of the cotangent, for kFloats of the window.
template <int kVectors, int kFloats>
void KernelTile(const float* input, const int32_t* offsets, int64_t pixels, const float* cotangent, float* gradient) {
  Vector sum[kFloats][kVectors] = {};
  for (int64_t m = 0; m < pixels; ++m, cotangent += kPanel) {
    const float* window = input + offsets[m];
    Vector weights[kVectors];
    for (int v = 0; v < kVectors; ++v) weights[v] = Load(cotangent + v * kLanes);
    for (int i = 0; i < kFloats; ++i)
      for (int v = 0; v < kVectors; ++v) sum[i][v] += window[i] * weights[v];
  }
  for (int i = 0; i < kFloats; ++i)
    for (int v = 0; v < kVectors; ++v) {
      float* to = gradient + i * kPanel + v * kLanes;
      Store(to, Load(to) + sum[i][v]);
    }
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

Map MapOf(ffi::Span<const int64_t> dimensions) {
  return {dimensions[0], dimensions[1], dimensions[2], dimensions[3]};
}

// The rows and columns of zeros around a map.
struct Border {
  int64_t top, left, bottom, right;
};

// The blocks that a batch is worked off in: several images, or some rows of one.
struct Blocks {
  int64_t rows, images, per_image, count;

  Blocks(int64_t batch, int64_t height, int64_t row_bytes, int64_t block_bytes) {
    rows = std::clamp<int64_t>(block_bytes / row_bytes, 1, height);
    images = rows < height ? 1 : std::clamp<int64_t>(block_bytes / (height * row_bytes), 1, batch);
    per_image = (height + rows - 1) / rows;
    count = (batch + images - 1) / images * per_image;
  }

  // First image, number of images, first row, number of rows.
  struct Range {
    int64_t image, images, row, rows;
  };
  Range At(int64_t block, int64_t batch, int64_t height) const {
    const int64_t image = block / per_image * images, row = block % per_image * rows;
    return {image, std::min(images, batch - image), row, std::min(rows, height - row)};
  }
};

// Rows [row, row + rows) of some images of a map with its border, copied into `buffer`; row 0 is the border's first.
const float* Bordered(std::vector<float>& buffer, const float* map, const Map& shape, const Border& border,
                      int64_t image, int64_t images, int64_t row, int64_t rows) {
  const int64_t left = border.left * shape.channels, right = border.right * shape.channels;
  const int64_t row_floats = left + shape.RowFloats() + right;
  buffer.resize(std::max<size_t>(buffer.size(), images * rows * row_floats));
  float* to = buffer.data();
  for (int64_t n = image; n < image + images; ++n)
    for (int64_t y = row - border.top; y < row + rows - border.top; ++y, to += row_floats) {
      if (y < 0 || y >= shape.height) {
        std::fill_n(to, row_floats, 0.0f);
        continue;
      }
      std::fill_n(to, left, 0.0f);
      std::memcpy(to + left, map + n * shape.ImageFloats() + y * shape.RowFloats(), shape.RowFloats() * sizeof(float));
      std::fill_n(to + left + shape.RowFloats(), right, 0.0f);
    }
  return buffer.data();
}

// One direction of a correlation that writes every `step`th pixel from `first`: output pixel first + i * step reads
// `taps` pixels from `start` + i * stride on; tap t is the kernel's pixel `kernel_first` + t * `kernel_step`.
struct Axis {
  int64_t first, step, count, start, stride, taps, kernel_first, kernel_step;
};

// The kernel's taps of a phase as panels (ceil(D / kPanel), taps * taps * C, kPanel), zeros in the channels beyond D.
template <typename At>
std::vector<float> Panels(const Axis& y, const Axis& x, int64_t in_channels, int64_t out_channels, const At& at) {
  const int64_t length = y.taps * x.taps * in_channels;
  std::vector<float> panels(RoundUp(out_channels, kPanel) * length);
  for (int64_t i = 0; i < y.taps; ++i)
    for (int64_t j = 0; j < x.taps; ++j)
      for (int64_t c = 0; c < in_channels; ++c)
        for (int64_t d = 0; d < out_channels; ++d)
          panels[(d / kPanel * length + (i * x.taps + j) * in_channels + c) * kPanel + d % kPanel] =
              at(y.kernel_first + i * y.kernel_step, x.kernel_first + j * x.kernel_step, c, d);
  return panels;
}

// Writes one phase of a correlation: output pixels at y.first, y.first + y.step, ... and the same in x.
void Correlate(ffi::ThreadPool& pool, const float* input, const Map& in, const Border& border, const Axis& y,
               const Axis& x, const std::vector<float>& panels, float* output, const Map& out) {
  const int64_t width = border.left + in.width + border.right, row_floats = width * in.channels;
  const Window window = {y.taps, x.taps * in.channels, row_floats};
  const int64_t panel_floats = y.taps * window.length * kPanel;
  const int64_t bytes = (y.stride * row_floats + x.count * out.channels) * sizeof(float);
  const Blocks blocks(in.batch, y.count, bytes, kBlockBytes);
  Parallel(pool, blocks.count, [&](int64_t block) {
    const auto range = blocks.At(block, in.batch, y.count);
    const int64_t rows = (range.rows - 1) * y.stride + y.taps;
    thread_local std::vector<float> buffer;
    const float* from = Bordered(buffer, input, in, border, range.image, range.images, y.start + range.row * y.stride,
                                 rows);
    const int64_t pixels = range.images * range.rows * x.count;
    thread_local std::vector<std::pair<const float*, float*>> places;
    places.clear();
    for (int64_t n = 0; n < range.images; ++n)
      for (int64_t i = 0; i < range.rows; ++i) {
        const float* window_at = from + (n * rows + i * y.stride) * row_floats + x.start * in.channels;
        float* to = output + (range.image + n) * out.ImageFloats() +
                    (y.first + (range.row + i) * y.step) * out.RowFloats() + x.first * out.channels;
        for (int64_t j = 0; j < x.count; ++j)
          places.emplace_back(window_at + j * x.stride * in.channels, to + j * x.step * out.channels);
      }
    for (int64_t d = 0; d < out.channels; d += kPanel)
      PanelTiles(out.channels - d, pixels, [&](auto vectors, auto size, int64_t m) {
        const float* pixel[size];
        float* sums[size];
        for (int i = 0; i < size; ++i) std::tie(pixel[i], sums[i]) = places[m + i], sums[i] += d;
        PixelTile<vectors, size>(pixel, window, panels.data() + d / kPanel * panel_floats, sums, out.channels - d);
      });
  });
}

ffi::Error Convolution(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> input, ffi::Buffer<ffi::F32> kernel, int64_t stride,
                       int64_t padding, ffi::ResultBuffer<ffi::F32> output) {
  const Map in = MapOf(input.dimensions()), out = MapOf(output->dimensions()), f = MapOf(kernel.dimensions());
  const float* weights = kernel.typed_data();
  const Axis y = {0, 1, out.height, 0, stride, f.batch, 0, 1}, x = {0, 1, out.width, 0, stride, f.height, 0, 1};
  const auto panels = Panels(y, x, in.channels, out.channels, [&](int64_t i, int64_t j, int64_t c, int64_t d) {
    return weights[((i * f.height + j) * in.channels + c) * out.channels + d];
  });
  const Border border = {padding, padding, padding, padding};
  Correlate(pool, input.typed_data(), in, border, y, x, panels, output->typed_data(), out);
  return ffi::Error::Success();
}

// The input pixels first, first + stride, ... of the gradient: each sees the cotangent through the kernel's pixels of
// the same phase, mirrored. `start` counts from the cotangent's pixel 0 and may be negative.
Axis Phase(int64_t first, int64_t stride, int64_t padding, int64_t size, int64_t kernel_size) {
  const int64_t phase = (first + padding) % stride;
  const int64_t taps = phase < kernel_size ? (kernel_size - 1 - phase) / stride + 1 : 0;
  const int64_t last = phase + (taps - 1) * stride;
  const int64_t count = first < size ? (size - first - 1) / stride + 1 : 0;
  return {first, stride, count, (first + padding - last) / stride, 1, taps, last, -stride};
}

ffi::Error InputGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> kernel, ffi::Buffer<ffi::F32> cotangent,
                         int64_t stride, int64_t padding, ffi::ResultBuffer<ffi::F32> gradient) {
  const Map out = MapOf(gradient->dimensions()), in = MapOf(cotangent.dimensions()), f = MapOf(kernel.dimensions());
  const float* weights = kernel.typed_data();
  for (int64_t i = 0; i < stride; ++i)
    for (int64_t j = 0; j < stride; ++j) {
      Axis y = Phase(i, stride, padding, out.height, f.batch), x = Phase(j, stride, padding, out.width, f.height);
      if (y.count == 0 || x.count == 0) continue;
      const auto panels = Panels(y, x, in.channels, out.channels, [&](int64_t i, int64_t j, int64_t d, int64_t c) {
        return weights[((i * f.height + j) * out.channels + c) * in.channels + d];
      });
      auto beyond = [](const Axis& axis, int64_t size) {
        return std::max<int64_t>(0, axis.start + axis.count - 1 + axis.taps - size);
      };
      const Border border = {std::max<int64_t>(0, -y.start), std::max<int64_t>(0, -x.start), beyond(y, in.height),
                             beyond(x, in.width)};
      y.start += border.top, x.start += border.left;
      Correlate(pool, cotangent.typed_data(), in, border, y, x, panels, gradient->typed_data(), out);
    }
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> input, ffi::Buffer<ffi::F32> cotangent,
                          int64_t stride, int64_t padding, ffi::ResultBuffer<ffi::F32> gradient) {
  const Map in = MapOf(input.dimensions()), out = MapOf(cotangent.dimensions()), f = MapOf(gradient->dimensions());
  const Border border = {padding, padding, padding, padding};
  const int64_t width = in.width + 2 * padding, row_floats = width * in.channels, length = f.height * in.channels;
  const int64_t panels = (out.channels + kPanel - 1) / kPanel, panel_floats = f.batch * length * kPanel;
  const int64_t floats = panels * panel_floats;
  const int64_t row_bytes = (stride * row_floats + out.width * kPanel) * sizeof(float);
  // Every block is added to the whole sum, so a block of wide maps must not have too few pixels.
  const Blocks blocks(in.batch, out.height, row_bytes, std::max(kBlockBytes, kBlockPixels * row_bytes / out.width));
  const int64_t parts = std::clamp<int64_t>(kPartFloats / floats, 1, std::min(kParts, blocks.count));
  const int64_t groups = std::clamp<int64_t>(kParts / parts, 1, panels);  // of panels, where parts alone are few
  std::vector<float> sums(parts * floats);
  Parallel(pool, parts * groups, [&](int64_t unit) {
    const int64_t part = unit / groups, group = unit % groups;
    thread_local std::vector<int32_t> offsets;
    thread_local std::vector<float> input_buffer, panel;
    for (int64_t block = part * blocks.count / parts; block < (part + 1) * blocks.count / parts; ++block) {
      const auto range = blocks.At(block, in.batch, out.height);
      const int64_t rows = (range.rows - 1) * stride + f.batch;
      const float* x = Bordered(input_buffer, input.typed_data(), in, border, range.image, range.images,
                                range.row * stride, rows);
      const float* g = cotangent.typed_data() + range.image * out.ImageFloats() + range.row * out.RowFloats();
      offsets.clear();
      for (int64_t n = 0; n < range.images; ++n)
        for (int64_t i = 0; i < range.rows; ++i)
          for (int64_t j = 0; j < out.width; ++j)
            offsets.push_back((n * rows + i * stride) * row_floats + j * stride * in.channels);
      panel.resize(std::max<size_t>(panel.size(), offsets.size() * kPanel));
      for (int64_t p = group * panels / groups; p < (group + 1) * panels / groups; ++p) {
        const int64_t count = std::min<int64_t>(kPanel, out.channels - p * kPanel);
        for (size_t m = 0; m < offsets.size(); ++m)
          std::memcpy(&panel[m * kPanel], g + m * out.channels + p * kPanel, count * sizeof(float));
        float* sum = sums.data() + part * floats + p * panel_floats;
        for (int64_t i = 0; i < f.batch; ++i)
          PanelTiles(count, length, [&](auto vectors, auto size, int64_t k) {
            KernelTile<vectors, size>(x + i * row_floats + k, offsets.data(), offsets.size(), panel.data(),
                                      sum + (i * length + k) * kPanel);
          });
      }
    }
  });
  Parallel(pool, panels, [&](int64_t p) {
    const int64_t count = std::min<int64_t>(kPanel, out.channels - p * kPanel);
    for (int64_t k = 0; k < f.batch * length; ++k) {
      const float* from = sums.data() + p * panel_floats + k * kPanel;
      Vector total[2] = {};
      for (int64_t part = 0; part < parts; ++part, from += floats)
        for (int v = 0; v < 2; ++v) total[v] += Load(from + v * kLanes);
      std::memcpy(gradient->typed_data() + k * out.channels + p * kPanel, total, count * sizeof(float));
    }
  });
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Attr<int64_t>("stride")
      .Attr<int64_t>("padding")
      .Ret<ffi::Buffer<ffi::F32>>();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_convolution, Convolution, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_input_gradient, InputGradient, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_kernel_gradient, KernelGradient, Binding());
