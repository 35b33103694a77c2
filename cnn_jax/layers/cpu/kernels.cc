// Convolution, max-pooling and their derivatives on CPU, as XLA foreign functions.
//
// Maps are (B, H, W, C), kernels (f, f, C, D), both float32 or both bfloat16, symmetric zero padding, one stride. Sums are
// float32 in either type. Every sum has a fixed order,
// whatever the number of threads: a resumed run repeats the same bits.

#include "direct.h"
#include "pool.h"
#include "winograd.h"

namespace cnn_jax {
namespace {

template <typename T>
const T* Values(const ffi::AnyBuffer& buffer) {
  return static_cast<const T*>(buffer.untyped_data());
}

template <typename T>
void Convolution(ffi::ThreadPool& pool, const ffi::AnyBuffer& input, const ffi::AnyBuffer& kernel, int64_t stride,
                 int64_t padding, ffi::AnyBuffer& output) {
  const Map in = MapOf(input.dimensions()), out = MapOf(output.dimensions()), f = MapOf(kernel.dimensions());
  const T* weights = Values<T>(kernel);
  T* results = static_cast<T*>(output.untyped_data());
  if (!winograd::Pays(in, out, f, stride))
    return direct::Convolution(pool, Values<T>(input), in, weights, f, stride, padding, results, out);
  const auto panels = winograd::KernelPanels(pool, in.channels, out.channels, [&](int i, int j, int64_t c, int64_t d) {
    return ToFloat(weights[((i * f.height + j) * in.channels + c) * out.channels + d]);
  });
  winograd::Correlate(pool, Values<T>(input), in, padding, panels, results, out);
}

template <typename T>
void InputGradient(ffi::ThreadPool& pool, const ffi::AnyBuffer& kernel, const ffi::AnyBuffer& cotangent, int64_t stride,
                   int64_t padding, ffi::AnyBuffer& gradient) {
  const Map out = MapOf(gradient.dimensions()), in = MapOf(cotangent.dimensions()), f = MapOf(kernel.dimensions());
  const T* weights = Values<T>(kernel);
  T* results = static_cast<T*>(gradient.untyped_data());
  const int64_t last = f.height - 1;
  if (padding > last || !winograd::Pays(in, out, f, stride))
    return direct::InputGradient(pool, weights, f, Values<T>(cotangent), in, stride, padding, results, out);
  // Correlated with the kernel mirrored.
  const auto panels = winograd::KernelPanels(pool, in.channels, out.channels, [&](int i, int j, int64_t d, int64_t c) {
    return ToFloat(weights[(((last - i) * f.height + last - j) * out.channels + c) * in.channels + d]);
  });
  winograd::Correlate(pool, Values<T>(cotangent), in, last - padding, panels, results, out);
}

template <typename T>
void KernelGradient(ffi::ThreadPool& pool, const ffi::AnyBuffer& input, const ffi::AnyBuffer& cotangent, int64_t stride,
                    int64_t padding, ffi::AnyBuffer& gradient) {
  const Map in = MapOf(input.dimensions()), out = MapOf(cotangent.dimensions()), f = MapOf(gradient.dimensions());
  const T *seen = Values<T>(input), *of_results = Values<T>(cotangent);
  T* results = static_cast<T*>(gradient.untyped_data());
  if (winograd::Pays(in, out, f, stride))
    winograd::KernelGradient(pool, seen, in, of_results, out, padding, results);
  else
    direct::KernelGradient(pool, seen, in, of_results, out, stride, padding, results, f);
}

template <typename T>
void MaxPool(ffi::ThreadPool& pool, const ffi::AnyBuffer& input, const pool::Windows& windows, ffi::AnyBuffer& output,
             uint8_t* places) {
  pool::Max(pool, Values<T>(input), MapOf(input.dimensions()), windows, static_cast<T*>(output.untyped_data()), places,
            MapOf(output.dimensions()));
}

template <typename T>
void Take(ffi::ThreadPool& pool, const ffi::AnyBuffer& input, const uint8_t* places, const pool::Windows& windows,
          ffi::AnyBuffer& output) {
  pool::Take(pool, Values<T>(input), MapOf(input.dimensions()), places, windows,
             static_cast<T*>(output.untyped_data()), MapOf(output.dimensions()));
}

template <typename T>
void Spread(ffi::ThreadPool& pool, const ffi::AnyBuffer& cotangent, const uint8_t* places,
            const pool::Windows& windows, ffi::AnyBuffer& gradient) {
  pool::Spread(pool, Values<T>(cotangent), MapOf(cotangent.dimensions()), places, windows,
               static_cast<T*>(gradient.untyped_data()), MapOf(gradient.dimensions()));
}

ffi::Error CallMaxPool(ffi::ThreadPool pool, ffi::AnyBuffer input, int64_t size, int64_t stride, int64_t padding,
                       ffi::Result<ffi::AnyBuffer> output, ffi::ResultBuffer<ffi::U8> places) {
  const auto of_type = input.element_type() == ffi::F32 ? MaxPool<float> : MaxPool<Half>;
  of_type(pool, input, {size, stride, padding}, *output, places->typed_data());
  return ffi::Error::Success();
}

template <auto of_floats, auto of_halves>
ffi::Error CallPlaced(ffi::ThreadPool pool, ffi::AnyBuffer values, ffi::Buffer<ffi::U8> places, int64_t size,
                      int64_t stride, int64_t padding, ffi::Result<ffi::AnyBuffer> result) {
  const auto of_type = values.element_type() == ffi::F32 ? of_floats : of_halves;
  of_type(pool, values, places.typed_data(), {size, stride, padding}, *result);
  return ffi::Error::Success();
}

// The foreign function of a pair of such, for float32 and bfloat16.
template <auto of_floats, auto of_halves>
ffi::Error Call(ffi::ThreadPool pool, ffi::AnyBuffer first, ffi::AnyBuffer second, int64_t stride, int64_t padding,
                ffi::Result<ffi::AnyBuffer> result) {
  (first.element_type() == ffi::F32 ? of_floats : of_halves)(pool, first, second, stride, padding, *result);
  return ffi::Error::Success();
}

auto ConvolutionBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Attr<int64_t>("stride")
      .Attr<int64_t>("padding")
      .Ret<ffi::AnyBuffer>();
}

auto MaxPoolBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Attr<int64_t>("size")
      .Attr<int64_t>("stride")
      .Attr<int64_t>("padding")
      .Ret<ffi::AnyBuffer>()
      .Ret<ffi::Buffer<ffi::U8>>();
}

auto PlacedBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::Buffer<ffi::U8>>()
      .Attr<int64_t>("size")
      .Attr<int64_t>("stride")
      .Attr<int64_t>("padding")
      .Ret<ffi::AnyBuffer>();
}

}  // namespace
}  // namespace cnn_jax

#define CNN_JAX_KERNEL(name, Caller, Function, Binding)                                                    \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, (cnn_jax::Caller<cnn_jax::Function<float>, cnn_jax::Function<cnn_jax::Half>>), \
                                cnn_jax::Binding())

CNN_JAX_KERNEL(cnn_jax_convolution, Call, Convolution, ConvolutionBinding);
CNN_JAX_KERNEL(cnn_jax_input_gradient, Call, InputGradient, ConvolutionBinding);
CNN_JAX_KERNEL(cnn_jax_kernel_gradient, Call, KernelGradient, ConvolutionBinding);
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_max_pool, cnn_jax::CallMaxPool, cnn_jax::MaxPoolBinding());
CNN_JAX_KERNEL(cnn_jax_take, CallPlaced, Take, PlacedBinding);
CNN_JAX_KERNEL(cnn_jax_spread, CallPlaced, Spread, PlacedBinding);
