"""What a file is that is no image Pillow reads, and what to do about it."""

import io

import pytest
from PIL import Image

from cnn_jax.data import DataError, picture
from tests.test_picture import tiff

file = io.BytesIO()
Image.new("L", (8, 8)).save(file, "jpeg")
TWELVE_BITS = file.getvalue().replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c")  # as its first frame would say
DOUBLES = tiff(1, 1, 64, bytes(8), sample_format=3)
HEADS = {
    b"": "it is empty); replace it",
    bytes(4096): "nothing but zeros",
    b"<!DOCTYPE html>\n<html><body>404": "it is an HTML page, as a download that failed",
    b"\n<svg xmlns='http://www.w3.org/2000/svg'/>": "it is an SVG drawing); convert it",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "it is a Git LFS pointer, not the image); fetch it",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "it is a HEIC photograph, as iPhones take); convert it to JPEG or PNG",
    b"\0\0\0\x18ftypavif\0\0\0\0": "it is an AVIF image",
    b"\0\0\0\x18ftypcrx \0\0\0\1": "RAW photograph",
    b"FUJIFILMCCD-RAW 0201": "RAW photograph",
    b"\0\0\0\x20ftypisom": "it is a film",
    b"%PDF-1.7\n": "it is a PDF document",
    b"PK\3\4\x14": "it is a ZIP archive); unpack it",
    b"\x93NUMPY\1\0": "an array of NumPy's",
    b"\xff\x0a\xfa\x7f": "a JPEG XL image",
    b"\0\5\x16\7\0\2": "macOS keeps beside a file",
    b'{"error": 404}': "it is a JSON file",
    b"just a note\n": "it is a text file",
    TWELVE_BITS: "it begins as a JPEG, and is damaged or of a kind Pillow does not read",
    b"\x89PNG\r\n\x1a\n": "it begins as a PNG",
    DOUBLES: "it begins as a TIFF, and is damaged or of a kind Pillow does not read",
    b"\1\2\3\4": r"it begins with b'\x01\x02\x03\x04', as no image does",
}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: HEADS[head][:24])
def test_what_is_no_image_is_called_what_it_is(head):
    with pytest.raises(DataError) as caught:
        picture.open_image(head, "it")
    said = str(caught.value)
    assert said.startswith("it cannot be decoded (") and HEADS[head] in said
    assert "\n" not in said and said.endswith(", or add --skip_damaged to leave such images out")
