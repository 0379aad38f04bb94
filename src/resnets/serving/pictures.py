"""Pictures of strangers: their bytes say what they are, and how large, before they are decoded."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from resnets.data.decoding import picture_formats

FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if name in picture_formats())
"""Pillow's names of the formats that are tried; the fewer, the less there is to attack."""

NARROWEST = 50
"""Times that one side of a picture may have the other: a line that is resized to cover a square becomes a huge picture,
however few pixels it had."""

UNDECODABLE = "the picture is broken or cut off"


def open_checked(content: bytes, megapixels: float) -> Image.Image:
    """A picture from the bytes of its file, its pixels not yet decoded.

    Raises:
        ValueError: if it is no picture of `FORMATS`, broken, too narrow, or has more pixels than are allowed.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"this is no picture of a kind that is read here: {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"the picture has more than {megapixels:g} million pixels") from None
    except Exception:  # Pillow raises many kinds for a broken file
        raise ValueError(UNDECODABLE) from None
    if image.width * image.height > megapixels * 1e6:
        raise ValueError(
            f"the picture has {image.width} x {image.height} pixels; up to {megapixels:g} million are taken"
        )
    if max(image.size) > NARROWEST * min(image.size):
        raise ValueError(
            f"the picture has {image.width} x {image.height} pixels; one side may be {NARROWEST} times the other"
        )
    return image
