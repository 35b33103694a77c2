"""The arithmetic of sliding windows, one axis at a time (Dumoulin and Visin 2016, https://arxiv.org/abs/1603.07285)."""

from collections.abc import Iterable


def output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> int:
    """Pixels a side of the result: floor((n - f + 2p) / s + 1), with f = dilation * (kernel_size - 1) + 1.

    Args:
      size: n, pixels a side of the input.
      kernel_size: taps of a convolution, or pixels of a pooling window, a side.
      stride: s, pixels between windows.
      padding: p, pixels added on either side.
      dilation: pixels between taps.
      ceil_mode: rounds up, so that a last window may hang over the right edge; it does not, if it would begin in the
        padding there (Caffe's and PyTorch's rule).

    Raises:
      ValueError: the padded input is smaller than the kernel.
    """
    extent = dilation * (kernel_size - 1) + 1
    if size + 2 * padding < extent:
        raise ValueError(f"an input of {size} pixels with padding {padding} is smaller than the kernel, {extent}")
    whole, rest = divmod(size + 2 * padding - extent, stride)
    overhangs = ceil_mode and rest > 0 and (whole + 1) * stride < size + padding
    return whole + 1 + overhangs


def receptive_field(layers: Iterable[tuple[int, int, int]]) -> int:
    """Pixels a side of the input that one unit of the last layer sees; layers (kernel, stride, dilation), first first."""
    field = step = 1
    for kernel_size, stride, dilation in layers:
        field += dilation * (kernel_size - 1) * step
        step *= stride
    return field
