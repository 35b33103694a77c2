"""Encoded images into pixels, uint8 RGB or grey: the one place where that is done, whatever a file holds.

- Grey of more than 8 bits is scaled by its range: 65,535, what a TIFF says of its bits, or the bits that `Decoding`
  names. Floats are taken from [0, 1]. What has no known range is refused.
- 16 bits a colour become the upper 8, as Pillow and so torchvision have it.
- What is transparent keeps the colours that the file stores there, as torchvision's and TensorFlow's decoders drop the
  alpha channel too; nothing is blended.
- Colour profiles (ICC) are not applied, as torchvision and TensorFlow do not; CIE Lab becomes sRGB, which neither does.
- EXIF's orientation is ignored in data sets, as torchvision, TensorFlow and TFDS ignore it, unless `Decoding` asks for
  it, as it does of photographs that a user hands over to a network. Of a TIFF Pillow itself applies it.
- Of several pages or frames the first is taken.

Whatever of this could surprise is told on stderr, once a process, with the first image that it is of.
"""

import io
import os
import struct
import sys
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile

from cnn_jax.data.dataset import AS_STORED, DataError, Decoding
from cnn_jax.data.signatures import REPLACE, identify

DAMAGES = (  # what Pillow raises for files that are none of its own, cut or with changed bytes
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError),
    *(struct.error, Image.DecompressionBombError),
)
LEAVE_OUT = ", or add --skip_damaged to leave such images out"
HIGH = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # modes of grey with more than 8 bits
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 0x0112, 258, 262, 0  # tags of EXIF and TIFF
UPRIGHT = {  # by EXIF's orientation: what is to be done to the image as it is stored
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TOLD: set[str] = set()


def read(path: str | os.PathLike, channels: int = 3, decoding: Decoding = AS_STORED) -> np.ndarray:
    """The image file as uint8 (H, W, channels), RGB for 3 and grey for 1; raises DataError where it is none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give an image file") from error
    try:
        return to_pixels(open_image(data, str(path)), str(path), channels, decoding)
    except DataError as error:
        raise DataError(str(error).removesuffix(LEAVE_OUT)) from error


def to_pixels(image: Image.Image, name: str, channels: int, decoding: Decoding = AS_STORED) -> np.ndarray:
    """A PIL image as uint8 (H, W, channels), RGB for 3 and grey for 1; raises DataError, see `decode`."""
    pixels = np.asarray(decode(image, name, decoding, "L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def open_image(data: bytes, name: str) -> ImageFile.ImageFile:
    """The image, not decoded yet; raises DataError, which says what the file is instead."""
    try:
        return Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError as error:
        raise refusal(name, *identify(data)) from error
    except DAMAGES as error:
        raise damage(name, error) from error


def refusal(name: str, reason: str, advice: str) -> DataError:
    return DataError(f"{name} cannot be decoded ({reason}); {advice}{LEAVE_OUT}")


def damage(name: str, error: Exception) -> DataError:
    """What Pillow says, in one line."""
    return refusal(name, str(error).strip().partition("\n")[0] or type(error).__name__, REPLACE)


def orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8, of an image not decoded yet; 1 is upright. Pillow decodes a TIFF upright by itself."""
    return image.getexif().get(ORIENTATION, 1) if "exif" in image.info and image.format != "TIFF" else 1


def is_turned(image: Image.Image, decoding: Decoding) -> bool:
    """Whether width and height are exchanged when it is decoded."""
    return decoding.exif_orientation and orientation(image) in (5, 6, 7, 8)


def decoded_size(image: Image.Image, decoding: Decoding) -> tuple[int, int]:
    """`(width, height)` of the image when it is decoded."""
    return image.size[::-1] if is_turned(image, decoding) else image.size


def decode(image: Image.Image, name: str, decoding: Decoding = AS_STORED, mode: str = "RGB") -> Image.Image:
    """The image in mode RGB or L, see this module for what becomes of all kinds; raises DataError."""
    try:
        orient, deep = orientation(image), has_16_bits(image)
        image.load()
        tell_of_losses(image, name)
        if image.mode in HIGH:
            image = scale_to_8_bits(image, name, decoding.bits)
        elif deep:
            require_16_bits(image, name, decoding.bits)
        if image.mode == "LAB":
            image = lab_to_rgb(image)
        image = image if image.mode == mode else image.convert(mode)
    except DataError:
        raise
    except DAMAGES as error:
        raise damage(name, error) from error
    if orient == 1:
        return image
    if decoding.exif_orientation:
        return image.transpose(UPRIGHT[orient]) if orient in UPRIGHT else image
    tell_once(
        "orientation",
        f"{name} is stored turned or mirrored (EXIF orientation {orient}) and taken so, as torchvision and "
        "TensorFlow take it, and others like it; data.exif_orientation=true turns both upright",
    )
    return image


def has_16_bits(image: Any) -> bool:
    """Whether what is still to be decoded has 16 bits a channel."""
    return image.format in ("PNG", "TIFF") and any(";16" in str(tile[3]) for tile in image.tile)


def tell_once(kind: str, line: str) -> None:
    """Prints the line on stderr, if it is the first of its kind in this process."""
    if kind not in TOLD:
        TOLD.add(kind)
        print(line, file=sys.stderr, flush=True)


def tell_of_losses(image: Image.Image, name: str) -> None:
    """Of frames after the first and of transparency. A phone's second picture (MPO) is not one of its own."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        tell_once("frames", f"{name} has several pages or frames: of it, and of others like it, the first is taken")
    with_alpha = image.mode in ("LA", "PA", "RGBA")
    if np.asarray(image.getchannel("A")).min() < 255 if with_alpha else "transparency" in image.info:
        tell_once(
            "alpha",
            f"{name} is transparent in parts: there, and in others like it, the colours are those that the file "
            "stores, as torchvision and TensorFlow have it; nothing is blended",
        )


def tiff_tag(image: Any, tag: int) -> Any:
    return image.tag_v2.get(tag) if image.format == "TIFF" else None


def known_maximum(image: Image.Image) -> int | None:
    """The largest value that grey of more than 8 bits can have, as far as the file tells; 1 of floats."""
    if image.mode == "F":
        return 1
    if image.mode != "I":
        (bits,) = tiff_tag(image, BITS_PER_SAMPLE) or (16,)
        return (1 << bits) - 1
    return 65_535 if image.format in ("PNG", "PPM") else None  # the formats of which Pillow scales to that


def scale_to_8_bits(image: Image.Image, name: str, bits: int) -> Image.Image:
    """Grey of more than 8 bits, loaded, in mode L: rounded to the nearest level."""
    maximum, pixels = (1 << bits) - 1 if bits else known_maximum(image), np.asarray(image)
    if maximum is None:
        raise refusal(
            name, "its values are whole numbers, of more than 8 bits, whose range it does not tell", "set data.bits"
        )
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= maximum):  # false of what is not a number, too
        raise refusal(name, f"its values are from {low:g} to {high:g}, not from 0 to {maximum:,}", "set data.bits")
    if image.mode == "F":
        tell_once("float", f"{name} holds floats: of it, and of others like it, 0 is black and {maximum:,} white")
    elif 0 < high <= maximum >> 4:
        tell_of_darkness(name, int(high), maximum)
    if tiff_tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts 8 bits alone
        pixels = maximum - pixels
    return Image.fromarray(np.round(pixels * (255 / maximum)).astype(np.uint8))


def require_16_bits(image: Image.Image, name: str, bits: int) -> None:
    """Raises DataError where 16-bit colours, of which Pillow keeps the upper 8, are to be of fewer bits."""
    if bits not in (0, 16):
        raise refusal(name, f"data.bits={bits} is of grey images, and this has 16 bits a colour", "convert it to 8")
    high = np.asarray(image).max()
    if 0 < high < 16:
        tell_of_darkness(name, 256 * int(high) + 255, 65_535)


def tell_of_darkness(name: str, high: int, maximum: int) -> None:
    tell_once(
        "dark",
        f"{name} has no value above {high:,} of {maximum:,} and is nearly black, perhaps like others: where fewer bits "
        "are used than the file says, set data.bits, for instance data.bits=12",
    )


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """CIE Lab, of white D50, as sRGB."""
    lab, srgb = (ImageCms.createProfile(space) for space in ("LAB", "sRGB"))
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # it is where it is done in place
    return converted
