"""From a picture file of any kind to uint8 pixels, upright, grey or RGB."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, UnidentifiedImageError
from simplejpeg import decode_jpeg
from torch import Tensor

# These plugins start another program, read no pixels, or exist on one system only.
_NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
_COMMON = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
)  # tried first: some others try a whole parse to say no
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands of ISO/IEC 23008-12
_NOT_READ = (".heic", ".heif", ".hif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
"""Endings of pictures of telephones and cameras that Pillow does not read."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OF_16_BITS = np.rint(np.arange(65536) * (255 / 65535)).astype(np.uint8)
_GREY = ("1", "L", "LA", "La", "I", "F")


@cache
def picture_suffixes() -> tuple[str, ...]:
    """The file name endings of all formats that are read, in lower case with their dot."""
    known = Image.registered_extensions()
    return tuple(suffix for suffix, name in known.items() if name in Image.OPEN and name not in _NOT_PICTURES)


def open_picture(content: bytes) -> Image.Image:
    """A picture from the bytes of its file; its header is read, its pixels are not yet decoded.

    Raises:
        ValueError: if it is empty, or no picture.
        Exception: whatever else Pillow raises about a broken file.
    """
    if not content:
        raise ValueError("the file is empty")
    try:
        return Image.open(io.BytesIO(content), formats=picture_formats())
    except UnidentifiedImageError:
        raise ValueError("the file is no picture, or of a kind that is not read") from None


def why_left_out(name: str, beginning: bytes) -> str | None:
    """Why a file that is no picture by its name was meant to be one; None if it was not.

    Args:
        name: of the file.
        beginning: its first 16 bytes.
    """
    kind = next((suffix for suffix in _NOT_READ if name.lower().endswith(suffix)), None)
    if kind or _brand(beginning) in _HEIF:
        return f"pictures of the kind {kind or '.heic'} are not read; convert it to JPEG or PNG"
    return "it is a picture, but its name does not end as a picture's" if _begins_as_picture(beginning) else None


def _begins_as_picture(content: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a picture of a common kind, whatever its name."""
    bmp = content.startswith(b"BM") and content[6:10] == bytes(4)  # two letters alone are a word's, too
    webp = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    return content.startswith(_BEGINNINGS) or bmp or webp or _brand(content) in (b"avif", b"avis")


def _brand(content: bytes) -> bytes:
    """What a file of ISO's base format is for."""
    return content[8:12] if content[4:8] == b"ftyp" else b""


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read; anything else is not a picture, whatever its file name."""
    Image.init()
    return (*_COMMON, *(name for name in Image.ID if name not in {*_NOT_PICTURES, *_COMMON}))


def is_grey(image: Image.Image) -> bool:
    """Whether a picture has no colours by its mode, which its header tells without decoding."""
    return image.mode in _GREY or image.mode.startswith("I;16")


def decode(image: Image.Image, channels: int, shorter_side: int | None = None) -> Tensor:
    """The pixels of an opened picture, (channels, H, W) uint8, a pixel's channels side by side in memory.

    The first frame of an animation; turned upright by EXIF; transparent over white; 16-bit values are scaled
    to 8 bits, not clipped. With `shorter_side`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the
    result still has at least so many pixels on its shorter side, which is several times faster; other formats
    are not changed by it. That changes the size of `image` itself, too; see `opened_again`.

    Raises:
        ValueError: a picture whose values have no defined range (negative, or integers of more than 16 bits).
        Exception: whatever Pillow raises about a broken or truncated file, or one too large to be honest.
    """
    if shorter_side is not None:
        image.draft(None, (shorter_side, shorter_side))  # no other mode
    orientation = _orientation(image)
    mode = "L" if channels == 1 else "RGB"
    if orientation not in _UPRIGHT and image.mode == mode and (pixels := _of_jpeg(image)) is not None:
        return pixels
    image = _eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    if image.mode != mode:
        image = image.convert(mode)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)  # as it lies, torch resizes it fastest


def _of_jpeg(image: Image.Image) -> Tensor | None:
    """The pixels of a JPEG that is not decoded yet, in two thirds of Pillow's time, by the same library of C beneath.

    None of a file with something wrong with it, of which Pillow says what, or that it reads all the same.
    """
    if image.format != "JPEG" or not isinstance(file := getattr(image, "fp", None), io.BytesIO):
        return None
    space, (width, height) = "GRAY" if image.mode == "L" else "RGB", image.size
    try:
        decoded = decode_jpeg(file.getvalue(), space, min_height=height, min_width=width)
    except ValueError:
        return None
    return torch.from_numpy(decoded).permute(2, 0, 1) if decoded.shape[:2] == (height, width) else None


def opened_again(image: Image.Image) -> Image.Image | None:
    """A JPEG as another object, from the bytes that it was opened from and is not yet decoded of; None of all else."""
    if isinstance(image, JpegImagePlugin.JpegImageFile) and isinstance(image.fp, io.BytesIO) and image.tell() == 0:
        return Image.open(io.BytesIO(image.fp.getvalue()), formats=("JPEG",))
    return None


def encoded(image: Image.Image) -> tuple[bytes, str]:
    """The file that a picture was opened from, and its ending; of pixels that are of no file, a PNG of them."""
    source = getattr(image, "fp", None)
    if isinstance(source, io.BytesIO) and image.format is not None:
        return source.getvalue(), {"JPEG": "jpg"}.get(image.format, image.format.lower())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue(), "png"


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of an opened picture when it is turned upright, from its header."""
    sides = (image.height, image.width)
    return sides if _orientation(image) < 5 else sides[::-1]  # 5 to 8 turn it by a quarter


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # which Pillow turns upright by itself, its size at once
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels, and Pillow raises many kinds for it
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale pictures of wide numbers to 0..255, what is transparent becoming white; others are returned as they are."""
    if not (image.mode in ("I", "F") or image.mode.startswith("I;16")):
        return image
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535 or not np.isfinite(high):
        raise ValueError(f"values from {low} to {high} in mode {image.mode!r} have no defined range")
    if image.mode == "F":  # by custom 0..1, or else 8 bits or 16 bits held in floats
        full = 1.0 if high <= 1 else 255.0 if high <= 255 else 65535.0
        scaled = np.rint(values * np.float32(255.0 / full)).astype(np.uint8)
    else:
        scaled = _OF_16_BITS[values]
    if isinstance(transparent := image.info.get("transparency"), int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)
