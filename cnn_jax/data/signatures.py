"""What a file is that Pillow does not read, by its first bytes: for a message that says so, and what to do."""

import re
from typing import NamedTuple

REPLACE = "replace it"
CONVERT = "convert it to JPEG or PNG"


class Signature(NamedTuple):
    """What files of one kind begin with.

    Attributes:
      offset: of the magic bytes in the file.
      magic: what they match, a regular expression; letters of either case.
      kind: what such a file is, in words.
      advice: what to do about it.
    """

    offset: int
    magic: bytes
    kind: str
    advice: str = REPLACE


SIGNATURES = (
    Signature(0, rb"$", "it is empty"),
    Signature(0, rb"\0+$", "it holds nothing but zeros, as a download that broke off leaves it"),
    Signature(0, rb"version https://git-lfs", "it is a Git LFS pointer, not the image", "fetch it with `git lfs pull`"),
    Signature(0, rb"\S*/annex/objects/", "it is a git-annex pointer, not the image", "fetch it with `git annex get`"),
    Signature(0, rb"\s*(<!doctype html|<html|<head)", "it is an HTML page, as a download that failed leaves it"),
    Signature(
        0, rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", "it is an SVG drawing", CONVERT
    ),
    Signature(0, rb"\s*<\?xml", "it is an XML file"),
    Signature(0, rb"\s*[\[{]\s*[\"{\]}]", "it is a JSON file"),
    Signature(
        4, rb"ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "it is a HEIC photograph, as iPhones take", CONVERT
    ),
    Signature(4, rb"ftyp(avif|avis)", "it is an AVIF image, which this Pillow reads not or finds damaged", CONVERT),
    Signature(4, rb"ftypcrx ", "it is a RAW photograph of Canon's", CONVERT),
    Signature(4, rb"(ftyp|moov|mdat)", "it is a film", "take images out of it"),
    Signature(8, rb"AVI ", "it is a film", "take images out of it"),
    Signature(0, rb"\x1aE\xdf\xa3", "it is a film", "take images out of it"),
    Signature(0, rb"(FUJIFILMCCD-RAW|IIRO|IIRS|IIU\0|FOVb|\0MRM)", "it is a RAW photograph", CONVERT),
    Signature(0, rb"(\xff\x0a|\0\0\0\x0cJXL )", "it is a JPEG XL image", CONVERT),
    Signature(0, rb"v/1\x01", "it is an OpenEXR image", CONVERT),
    Signature(0, rb"%PDF", "it is a PDF document", CONVERT),
    Signature(0, rb"PK\x03\x04", "it is a ZIP archive", "unpack it"),
    Signature(0, rb"(\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!)", "it is an archive", "unpack it"),
    Signature(0, rb"\x93NUMPY", "it is an array of NumPy's", CONVERT),
    Signature(0, rb"\x89HDF", "it is an HDF5 file", CONVERT),
    Signature(0, rb"MATLAB", "it is a MATLAB file", CONVERT),
    Signature(128, rb"DICM", "it is a DICOM image", CONVERT),
    Signature(0, rb"\0\x05\x16\x07", "it is what macOS keeps beside a file, not the image", "delete it"),
    Signature(0, rb"\xff\xd8\xff", "it begins as a JPEG, and is damaged or of a kind Pillow does not read"),
    Signature(0, rb"\x89PNG", "it begins as a PNG and is damaged"),
    Signature(0, rb"GIF8", "it begins as a GIF and is damaged"),
    Signature(8, rb"WEBP", "it begins as a WebP and is damaged"),
    Signature(
        0,
        rb"(II\*\0|MM\0\*|II\+\0|MM\0\+)",
        "it begins as a TIFF, and is damaged or of a kind Pillow does not read",
        CONVERT,
    ),
    Signature(0, rb"[\t\n\r -~]+$", "it is a text file"),
)
"""The first that fits is what the file is."""


def identify(data: bytes) -> tuple[str, str]:
    """`(what the file is, what to do about it)`, of the content of a file that is no image Pillow reads."""
    start = data[:512]
    for one in SIGNATURES:
        if re.compile(one.magic, re.IGNORECASE | re.DOTALL).match(start, one.offset):
            return one.kind, one.advice
    return f"it begins with {start[:8]!r}, as no image does that Pillow reads", REPLACE
