// Convolution by its definition, for any kernel and stride, and its two gradients.
//
// The f * C values that an output pixel sees of one input row lie side by side, so each of the three is a sum over the f
// kernel rows of matrix products whose operands need no im2col: only the borders are copied, a block of rows at a time.
// The products are computed in register tiles (Goto and van de Geijn 2008, https://doi.org/10.1145/1356052.1356053).

#ifndef CNN_JAX_DIRECT_H_
#define CNN_JAX_DIRECT_H_

#include <tuple>

#include "vectors.h"

namespace cnn_jax::direct {

constexpr int64_t kBlockBytes = 64 * 1024;   // of input and output worked on together, to stay in a core's cache
constexpr int64_t kBlockPixels = 128;        // at least, of a block of a kernel gradient
constexpr int64_t kParts = 16;               // sums over the batch of a kernel gradient, added in order
constexpr int64_t kPartFloats = 1 << 22;     // memory for them

// What one output pixel of a correlation reads: `rows` runs of `length` floats, `row_stride` apart.
struct Window {
  int64_t rows, length, row_stride;
};

// sums[i][channels] = the window at pixel[i], times a panel of the kernel (rows * length, kPanel).
template <int kVectors, int kPixels, typename T>
void PixelTile(const float* const* pixel, const Window& window, const float* panel, T* const* sums, int64_t channels) {
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
  for (int i = 0; i < kPixels; ++i)
    for (int v = 0; v < kVectors; ++v) StoreFirst(sums[i] + v * kLanes, sum[i][v], channels - v * kLanes);
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
template <typename T>
const float* Bordered(std::vector<float>& buffer, const T* map, const Map& shape, const Border& border, int64_t image,
                      int64_t images, int64_t row, int64_t rows) {
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
      Copy(map + n * shape.ImageFloats() + y * shape.RowFloats(), shape.RowFloats(), to + left);
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
template <typename T>
void Correlate(ffi::ThreadPool& pool, const T* input, const Map& in, const Border& border, const Axis& y,
               const Axis& x, const std::vector<float>& panels, T* output, const Map& out) {
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
    thread_local std::vector<std::pair<const float*, T*>> places;
    places.clear();
    for (int64_t n = 0; n < range.images; ++n)
      for (int64_t i = 0; i < range.rows; ++i) {
        const float* window_at = from + (n * rows + i * y.stride) * row_floats + x.start * in.channels;
        T* to = output + (range.image + n) * out.ImageFloats() +
                    (y.first + (range.row + i) * y.step) * out.RowFloats() + x.first * out.channels;
        for (int64_t j = 0; j < x.count; ++j)
          places.emplace_back(window_at + j * x.stride * in.channels, to + j * x.step * out.channels);
      }
    for (int64_t d = 0; d < out.channels; d += kPanel)
      PanelTiles(out.channels - d, pixels, [&](auto vectors, auto size, int64_t m) {
        const float* pixel[size];
        T* sums[size];
        for (int i = 0; i < size; ++i) std::tie(pixel[i], sums[i]) = places[m + i], sums[i] += d;
        PixelTile<vectors, size>(pixel, window, panels.data() + d / kPanel * panel_floats, sums, out.channels - d);
      });
  });
}

template <typename T>
void Convolution(ffi::ThreadPool& pool, const T* input, const Map& in, const T* kernel, const Map& f, int64_t stride,
                 int64_t padding, T* output, const Map& out) {
  const Axis y = {0, 1, out.height, 0, stride, f.batch, 0, 1}, x = {0, 1, out.width, 0, stride, f.height, 0, 1};
  const auto panels = Panels(y, x, in.channels, out.channels, [&](int64_t i, int64_t j, int64_t c, int64_t d) {
    return ToFloat(kernel[((i * f.height + j) * in.channels + c) * out.channels + d]);
  });
  const Border border = {padding, padding, padding, padding};
  Correlate(pool, input, in, border, y, x, panels, output, out);
}

// The input pixels first, first + stride, ... of the gradient: each sees the cotangent through the kernel's pixels of
// the same phase, mirrored. `start` counts from the cotangent's pixel 0 and may be negative.
inline Axis Phase(int64_t first, int64_t stride, int64_t padding, int64_t size, int64_t kernel_size) {
  const int64_t phase = (first + padding) % stride;
  const int64_t taps = phase < kernel_size ? (kernel_size - 1 - phase) / stride + 1 : 0;
  const int64_t last = phase + (taps - 1) * stride;
  const int64_t count = first < size ? (size - first - 1) / stride + 1 : 0;
  return {first, stride, count, (first + padding - last) / stride, 1, taps, last, -stride};
}

// The gradient by the input, `out`, from that by the result, `in`.
template <typename T>
void InputGradient(ffi::ThreadPool& pool, const T* kernel, const Map& f, const T* cotangent, const Map& in,
                   int64_t stride, int64_t padding, T* gradient, const Map& out) {
  for (int64_t i = 0; i < stride; ++i)
    for (int64_t j = 0; j < stride; ++j) {
      Axis y = Phase(i, stride, padding, out.height, f.batch), x = Phase(j, stride, padding, out.width, f.height);
      if (y.count == 0 || x.count == 0) continue;
      const auto panels = Panels(y, x, in.channels, out.channels, [&](int64_t i, int64_t j, int64_t d, int64_t c) {
        return ToFloat(kernel[((i * f.height + j) * out.channels + c) * in.channels + d]);
      });
      auto beyond = [](const Axis& axis, int64_t size) {
        return std::max<int64_t>(0, axis.start + axis.count - 1 + axis.taps - size);
      };
      const Border border = {std::max<int64_t>(0, -y.start), std::max<int64_t>(0, -x.start), beyond(y, in.height),
                             beyond(x, in.width)};
      y.start += border.top, x.start += border.left;
      Correlate(pool, cotangent, in, border, y, x, panels, gradient, out);
    }
}

// The gradient by the kernel, `f`, of a convolution of the input, `in`, from that by its result, `out`.
template <typename T>
void KernelGradient(ffi::ThreadPool& pool, const T* input, const Map& in, const T* cotangent, const Map& out,
                    int64_t stride, int64_t padding, T* gradient, const Map& f) {
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
      const float* x = Bordered(input_buffer, input, in, border, range.image, range.images,
                                range.row * stride, rows);
      const T* g = cotangent + range.image * out.ImageFloats() + range.row * out.RowFloats();
      offsets.clear();
      for (int64_t n = 0; n < range.images; ++n)
        for (int64_t i = 0; i < range.rows; ++i)
          for (int64_t j = 0; j < out.width; ++j)
            offsets.push_back((n * rows + i * stride) * row_floats + j * stride * in.channels);
      panel.resize(std::max<size_t>(panel.size(), offsets.size() * kPanel));
      for (int64_t p = group * panels / groups; p < (group + 1) * panels / groups; ++p) {
        const int64_t count = std::min<int64_t>(kPanel, out.channels - p * kPanel);
        for (size_t m = 0; m < offsets.size(); ++m)
          Copy(g + m * out.channels + p * kPanel, count, &panel[m * kPanel]);
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
      for (int v = 0; v * kLanes < count; ++v)
        StoreFirst(gradient + k * out.channels + p * kPanel + v * kLanes, total[v], count - v * kLanes);
    }
  });
}

}  // namespace cnn_jax::direct

#endif  // CNN_JAX_DIRECT_H_
