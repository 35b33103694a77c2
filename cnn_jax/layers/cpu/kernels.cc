// Convolution and its two gradients on CPU, as XLA foreign functions.
//
// Maps are (B, H, W, C), kernels (f, f, C, D), both float32 or both bfloat16, symmetric zero padding, one stride. Sums are
// float32 in either type. Every sum has a fixed order,
// whatever the number of threads: a resumed run repeats the same bits.

#include "direct.h"
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

// The foreign function of a pair of such, for float32 and bfloat16.
template <auto of_floats, auto of_halves>
ffi::Error Call(ffi::ThreadPool pool, ffi::AnyBuffer first, ffi::AnyBuffer second, int64_t stride, int64_t padding,
                ffi::Result<ffi::AnyBuffer> result) {
  (first.element_type() == ffi::F32 ? of_floats : of_halves)(pool, first, second, stride, padding, *result);
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Attr<int64_t>("stride")
      .Attr<int64_t>("padding")
      .Ret<ffi::AnyBuffer>();
}

}  // namespace
}  // namespace cnn_jax

#define CNN_JAX_KERNEL(name, Function)                                                                      \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, (cnn_jax::Call<cnn_jax::Function<float>, cnn_jax::Function<cnn_jax::Half>>), \
                                cnn_jax::Binding())

CNN_JAX_KERNEL(cnn_jax_convolution, Convolution);
CNN_JAX_KERNEL(cnn_jax_input_gradient, InputGradient);
CNN_JAX_KERNEL(cnn_jax_kernel_gradient, KernelGradient);
