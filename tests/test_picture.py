"""Pixels of encoded images of every kind: those that numpy or another decoder has, or one line that says what to do."""

import io
import struct
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms

from cnn_jax.data import DataError, Decoding, picture
from cnn_jax.data.dataset import AS_STORED
from cnn_jax.data.preprocess import Preprocess, from_json
from cnn_jax.data.stream.pictures import Augmentation, augment_example
from cnn_jax.data.stream.views import Middle
from cnn_jax.network import Network

RAMP = np.linspace(0, 65_535, 48 * 20).reshape(20, 48).round().astype(np.uint16)
COLOURS = np.random.default_rng(0).integers(0, 256, (20, 48, 4), np.uint8)
WHOLE = COLOURS.copy()
WHOLE[..., 3] = 255
PHOTOGRAPH = Image.fromarray(COLOURS[:4, :6, :3]).resize((90, 60), Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch):
    monkeypatch.setattr(picture, "TOLD", set())


def encode(image, kind, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def tiff(width, height, bits, content, photometric=1, samples=1, sample_format=1):
    """A TIFF of one strip, made by hand of the specification (TIFF 6.0): bits are of each sample."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: samples, 278: height}
    tags |= {279: len(content), 339: sample_format}
    directory = 8 + len(content) + len(content) % 2
    end = directory + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHLL", tag, 3, 3, end) if tag == 258 and samples == 3 else struct.pack("<HHLL", tag, 4, 1, value)
        for tag, value in sorted(tags.items())
    )
    body = content + bytes(len(content) % 2) + struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHL", b"II", 42, directory) + body + struct.pack("<3H", *[bits] * 3)


def pack_12_bits(values):
    pairs = values.reshape(-1, 2).astype(int)
    return np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1).astype(
        np.uint8
    )


def interlaced_png(grey):
    """By the seven passes of the specification (PNG 8.2)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, down, across in passes for row in grey[y::down, x::across])
    chunks = {b"IHDR": struct.pack(">LLBBBBB", *grey.shape[::-1], 8, 0, 0, 0, 1), b"IDAT": zlib.compress(rows)}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        for kind, body in {**chunks, b"IEND": b""}.items()
    )


def pixels(data, decoding=AS_STORED, mode="RGB"):
    return np.asarray(picture.decode(picture.open_image(data, "it"), "it", decoding, mode))


def refusal(data, decoding=AS_STORED):
    with pytest.raises(DataError) as caught:
        pixels(data, decoding)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("it cannot be decoded (")
    return str(caught.value)


DEEP = {
    "png": encode(RAMP, "png"),
    "tiff": encode(RAMP, "tiff"),
    "big-endian tiff": encode(Image.frombytes("I;16B", (48, 20), RAMP.astype(">u2").tobytes()), "tiff"),
    "compressed tiff": encode(RAMP, "tiff", compression="tiff_deflate"),
    "jpeg 2000": encode(RAMP, "jpeg2000"),
    "pgm": b"P5 48 20 65535\n" + RAMP.astype(">u2").tobytes(),
    "tiff by hand": tiff(48, 20, 16, RAMP.tobytes()),
    "white is zero": tiff(48, 20, 16, (65_535 - RAMP).tobytes(), photometric=0),
    "floats": encode((RAMP / 65_535).astype(np.float32), "tiff"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_grey_of_more_than_8_bits_is_scaled_by_its_range(kind):
    expected = np.round(RAMP / 257).astype(np.uint8)  # 65,535 = 257 * 255
    np.testing.assert_array_equal(pixels(DEEP[kind]), np.stack([expected] * 3, axis=-1))
    np.testing.assert_array_equal(pixels(DEEP[kind], mode="L"), expected)


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (encode(RAMP >> 4, "png"), 12),
        (encode(RAMP >> 4, "tiff"), 12),
        (tiff(48, 20, 12, pack_12_bits(RAMP >> 4).tobytes()), 0),  # which says so itself
        (b"P5 48 20 4095\n" + (RAMP >> 4).astype(">u2").tobytes(), 0),
        (encode((RAMP >> 4).astype(np.int32), "tiff"), 12),
        (encode((RAMP >> 4).astype(np.float32), "tiff"), 12),
    ],
)
def test_twelve_bits_are_scaled_by_4095(data, bits):
    expected = np.round((RAMP >> 4) / 4095 * 255)
    assert np.abs(pixels(data, Decoding(bits=bits), "L") - expected).max() <= (bits == 0)  # Pillow scales a PGM twice


def test_twelve_bits_that_a_file_calls_16_are_told_of(capsys):
    assert pixels(encode(RAMP >> 4, "png")).max() == 16
    assert "it has no value above 4,095 of 65,535" in capsys.readouterr().err
    deep = tiff(48, 20, 16, np.stack([RAMP >> 4] * 3, -1).tobytes(), photometric=2, samples=3)
    picture.TOLD.clear()
    assert pixels(deep).max() == 15
    assert "set data.bits, for instance data.bits=12" in capsys.readouterr().err
    assert "16 bits a colour); convert it to 8" in refusal(deep, Decoding(bits=12))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode(RAMP.astype(np.int32), "tiff"), "whole numbers, of more than 8 bits, whose range it does not tell"),
        (tiff(48, 20, 16, RAMP.tobytes(), sample_format=2), "whole numbers, of more than 8 bits, whose range"),
        (encode(RAMP.astype(np.float32), "tiff"), "its values are from 0 to 65535, not from 0 to 1"),
        (encode(np.full((4, 4), -1, np.float32), "tiff"), "its values are from -1 to -1, not from 0 to 1"),
        (encode(np.full((4, 4), np.nan, np.float32), "tiff"), "its values are from nan to nan"),
    ],
)
def test_values_of_no_known_range_are_refused(data, reason):
    assert reason in refusal(data) and "; set data.bits" in refusal(data)


RGB, GREY = COLOURS[..., :3], COLOURS[..., 0]
ONE_BIT = GREY > 127
PALETTE = Image.fromarray(GREY % 16).convert("P")
PALETTE.putpalette(COLOURS[0, :16, :3].tobytes())
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
AS_PILLOW_HAS_THEM = {  # what is stored, without loss
    "rgb": (encode(RGB, "png"), RGB),
    "grey": (encode(GREY, "png"), np.stack([GREY] * 3, -1)),
    "1 bit": (encode(ONE_BIT, "png"), np.stack([ONE_BIT * 255] * 3, -1)),
    "1 bit tiff": (encode(ONE_BIT, "tiff"), np.stack([ONE_BIT * 255] * 3, -1)),
    "interlaced": (interlaced_png(GREY), np.stack([GREY] * 3, -1)),
    "palette": (encode(PALETTE, "png"), COLOURS[0, :16, :3][GREY % 16]),
    "palette, transparent": (encode(PALETTE, "png", transparency=3), COLOURS[0, :16, :3][GREY % 16]),
    "gif": (encode(PALETTE, "gif"), COLOURS[0, :16, :3][GREY % 16]),
    "grey and alpha": (encode(Image.fromarray(COLOURS[..., :2].copy(), "LA"), "png"), np.stack([GREY] * 3, -1)),
    "rgb and alpha": (encode(COLOURS, "png"), RGB),
    "profile": (encode(RGB, "png", icc_profile=PROFILE), RGB),
    "webp": (encode(RGB, "webp", lossless=True), RGB),
    "jpeg 2000": (encode(RGB, "jpeg2000"), RGB),
    "16 bits a colour": (tiff(48, 20, 16, (RGB * np.uint16(257)).tobytes(), photometric=2, samples=3), RGB),
}


@pytest.mark.parametrize("kind", AS_PILLOW_HAS_THEM)
def test_other_kinds_are_what_they_store(kind):
    """As torchvision's ImageFolder has them: its pil_loader is `Image.open(file).convert("RGB")` (0.28.0)."""
    data, expected = AS_PILLOW_HAS_THEM[kind]
    np.testing.assert_array_equal(pixels(data), expected)
    np.testing.assert_array_equal(pixels(data), Image.open(io.BytesIO(data)).convert("RGB"))


def test_kinds_that_lose_something():
    """CMYK as Adobe's JPEG has it, inverted; AVIF; and a phone's two pictures (MPO), of which the first is meant."""
    cmyk = np.full((16, 16, 4), (10, 100, 200, 50), np.uint8)
    expected = (255 - cmyk[0, 0, :3].astype(float)) * (255 - 50) / 255
    assert np.abs(pixels(encode(Image.fromarray(cmyk, "CMYK"), "jpeg", quality=100)) - expected).max() <= 2
    first, second = PHOTOGRAPH, PHOTOGRAPH.transpose(Image.Transpose.ROTATE_180)
    for data in (
        encode(first, "avif", quality=95),
        encode(first, "mpo", save_all=True, append_images=[second]),
        encode(first.convert("YCbCr"), "tiff"),
    ):
        assert np.abs(pixels(data).astype(int) - np.asarray(first).astype(int)).mean() < 3


def test_lab_becomes_srgb():
    """CIE 15: f((L + 16) / 116, ...), white D50, Bradford's adaptation, sRGB's curve: worked out apart in float64."""
    lab = np.array([[[50, 0, 0], [60, 40, -30], [80, -50, 60], [30, 20, 50]]], float)
    stored = np.stack([lab[..., 0] * 2.55, lab[..., 1], lab[..., 2]], -1).round().astype(int).astype(np.uint8)
    srgb = [[118.9, 118.9, 118.9], [193.2, 117.1, 198.6], [120.0, 221.5, 73.3], [108.1, 57.1, 0.0]]
    assert np.abs(pixels(tiff(4, 1, 8, stored.tobytes(), photometric=8, samples=3))[0] - np.array(srgb)).max() <= 1.5


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photographs_are_turned_where_asked_and_else_it_is_told(orientation, capsys):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(RGB, "png", exif=exif)
    np.testing.assert_array_equal(pixels(data, Decoding(exif_orientation=True)), UPRIGHT[orientation](RGB))
    assert not capsys.readouterr().err
    np.testing.assert_array_equal(pixels(data), RGB)
    assert ("data.exif_orientation=true" in capsys.readouterr().err) is (orientation > 1)


@pytest.mark.parametrize(("said", "turned"), [(None, True), (True, True), (False, False)])
def test_what_a_user_hands_over_is_upright_unless_the_network_has_learned_otherwise(said, turned, tmp_path):
    preprocess = from_json(Preprocess(None, None, (0.5,), (1.0,), exif_orientation=said).to_json())
    shape = (48, 20) if turned else (20, 48)
    network = Network(SimpleNamespace(image_size=48), None, preprocess, channels=3, image_size=shape)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "phone.png").write_bytes(encode(RGB, "png", exif=exif))
    np.testing.assert_array_equal(network.show(tmp_path / "phone.png"), np.rot90(RGB, -1) if turned else RGB)


def test_crops_are_of_the_photograph_as_it_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(PHOTOGRAPH, "jpeg", exif=exif, quality=95)
    upright = encode(Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270), "png")
    turned, view = Decoding(exif_orientation=True), Middle(24, 30)
    np.testing.assert_array_equal(view(data, "", turned), view(upright, ""))
    for size in (24, 8):  # the smaller is of a JPEG decoded at a fraction of its size
        shown = [
            augment_example(
                {"image": one},
                {"image": "image"},
                "",
                Augmentation(size, area=(0.2, 0.9)),
                np.random.default_rng(1),
                how,
            )["image"].astype(int)
            for one, how in ((data, turned), (upright, AS_STORED))
        ]
        assert np.abs(shown[0] - shown[1]).mean() < (0.01 if size == 24 else 8)


def test_what_is_lost_is_told_once(capsys):
    moving = encode(PALETTE, "gif", save_all=True, append_images=[PALETTE.transpose(Image.Transpose.ROTATE_180)])
    pages = encode(RGB, "tiff", save_all=True, append_images=[Image.fromarray(RGB[::-1])])
    np.testing.assert_array_equal(pixels(moving), COLOURS[0, :16, :3][GREY % 16])
    np.testing.assert_array_equal(pixels(pages), RGB)
    assert (
        capsys.readouterr().err == "it has several pages or frames: of it, and of others like it, the first is taken\n"
    )
    pixels(encode(COLOURS, "png"))
    pixels(encode(PALETTE, "png", transparency=3))
    assert capsys.readouterr().err.startswith("it is transparent in parts: ")
    picture.TOLD.clear()
    pixels(encode(WHOLE, "png"))  # with an alpha channel, and opaque
    pixels(encode(RGB, "mpo", save_all=True, append_images=[Image.fromarray(RGB)]))
    pixels(encode(RGB, "jpeg"))
    assert not capsys.readouterr().err


def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path):
    path = tmp_path / "photograph.jpg"
    path.write_bytes(encode(RGB, "png"))
    np.testing.assert_array_equal(picture.read(path), RGB)
    assert picture.read(path, 1).shape == (20, 48, 1)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"photograph.jpg cannot be decoded \(it is empty\); replace it$"):
        picture.read(path)
    with pytest.raises(DataError, match="none.png cannot be read \\(No such file"):
        picture.read(tmp_path / "none.png")


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "avif", "jpeg2000", "bmp", "tiff"])
def test_damaged_files_are_one_line_or_an_image(kind):
    data, draw = encode(PHOTOGRAPH, kind), np.random.default_rng(0)
    for number in range(30):
        damaged = bytearray(data[: draw.integers(0, len(data))] if number % 2 else data)
        if not number % 2:
            for place in draw.integers(0, len(damaged), 3):
                damaged[place] ^= 255
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = picture.open_image(bytes(damaged), "it")
                if image.size == PHOTOGRAPH.size:  # else it may be a huge one
                    assert picture.decode(image, "it").mode == "RGB"
            except DataError as error:
                assert "\n" not in str(error) and "0x" not in str(error)
