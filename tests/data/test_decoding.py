from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import default_loader
from torchvision.transforms.v2.functional import pil_to_tensor

from resnets.data.decoding import decode, is_grey, picture_formats, picture_suffixes, upright_size


def saved(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """What Pillow opens after saving."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return Image.open(buffer, formats=picture_formats())


def noise(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    bands = Image.new(mode, size).getbands()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(bands)), dtype=np.uint8)
    return Image.merge(mode, [Image.fromarray(pixels[..., i]) for i in range(len(bands))])


def pixels(image: Image.Image) -> Tensor:
    array = torch.from_numpy(np.array(image))
    return array[None] if array.ndim == 2 else array.permute(2, 0, 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX"])
@pytest.mark.parametrize("channels", [1, 3])
def test_opaque_modes_are_pillows_conversion(mode: str, channels: int) -> None:
    image = noise().convert(mode)
    target = "L" if channels == 1 else "RGB"
    via = image if mode in ("1", "L") or channels == 3 else image.convert("RGB")
    expected = pixels(via.convert(target))
    got = decode(image.copy(), channels)
    assert got.shape == (channels, 16, 24)
    assert (got.int() - expected.int()).abs().max() <= 1


def test_transparency_is_laid_over_white() -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert decode(saved(half, "PNG"), 3).unique().tolist() == [127]
    clear = Image.new("LA", (4, 4), (10, 0))
    assert decode(saved(clear, "PNG"), 1).unique().tolist() == [255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    assert decode(saved(palette, "PNG", transparency=1), 3).unique().tolist() == [255]
    assert decode(saved(palette, "PNG"), 3)[:, 0, 0].tolist() == [200, 10, 10]
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    assert decode(saved(keyed, "PNG", transparency=(1, 2, 3)), 3).unique().tolist() == [255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_not_clipped(kind: str, channels: int) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    image = saved(Image.fromarray(values), kind)
    assert is_grey(image)
    assert decode(image, channels).tolist() == [[[0, 1, 128, 255]]] * channels


def test_sixteen_bit_colour_is_read() -> None:
    """Pillow cannot write it, so the file is put together by hand: 8-bit signature, header, one row, end."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    row = b"\0" + struct.pack(">6H", 65535, 0, 32768, 0, 65535, 257)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    file += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    got = decode(Image.open(io.BytesIO(file)), 3)
    assert got[:, 0, :].T.tolist() == [[255, 0, 128], [0, 255, 1]]


def test_floating_point_pictures() -> None:
    for full in (1.0, 255.0, 65535.0):
        values = np.array([[0.0, full * 0.5, full]], dtype=np.float32)
        assert decode(saved(Image.fromarray(values), "TIFF"), 1)[0, 0].tolist() == [0, 128, 255]
    for broken in (-1.0, 1e6, float("nan")):
        with pytest.raises(ValueError, match="no defined range"):
            decode(Image.fromarray(np.array([[0.0, broken]], dtype=np.float32)), 1)


def test_lab_is_converted() -> None:
    lab = Image.new("LAB", (2, 2), (255, 128, 128))  # a and b of 128 mean no colour
    assert decode(saved(lab, "TIFF"), 3).min() >= 253


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (50, 200)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        animated = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode(animated, 1).unique().tolist() == [50]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = pixels(ImageOps.exif_transpose(saved(noise(), "PNG", exif=exif)))
    image = saved(noise(), kind, exif=exif)
    assert upright_size(image) == tuple(expected.shape[1:])
    assert torch.equal(decode(image, 3), expected)


def test_what_is_transparent_of_16_bits_is_white() -> None:
    values = np.array([[0, 300], [300, 65535]], np.uint16)
    image = saved(Image.fromarray(values), "PNG", transparency=300)
    assert decode(image, 1).tolist() == [[[0, 255], [255, 255]]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_broken_exif_block_is_no_obstacle() -> None:
    image = saved(noise(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    assert decode(image, 3).shape == (3, 16, 24)


@pytest.mark.parametrize(("asked", "got"), [(None, 400), (400, 400), (201, 400), (200, 200), (60, 100), (1, 50)])
def test_a_jpeg_is_decoded_no_larger_than_needed(asked: int | None, got: int) -> None:
    image = saved(Image.linear_gradient("L").resize((600, 400)).convert("RGB"), "JPEG", quality=95)
    small = decode(image, 3, asked)
    assert small.shape == (3, got, got * 3 // 2)
    assert abs(small.float().mean() - 127.5) < 2


@pytest.mark.parametrize("size", [(24, 16), (17, 31), (1, 1), (8, 40)])
@pytest.mark.parametrize("options", [{"subsampling": s} for s in (0, 1, 2)] + [{"progressive": True}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_has_the_pixels_that_pillow_decodes(mode: str, options: dict, size: tuple[int, int], channels: int):
    def made() -> Image.Image:
        return saved(noise(mode, size), "JPEG", **options)

    assert torch.equal(decode(made(), channels), pixels(made().convert("L" if channels == 1 else "RGB")))


@pytest.mark.parametrize("shorter_side", [1, 50, 150])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_of_reduced_size_has_the_pixels_that_pillow_decodes(mode: str, shorter_side: int):
    def made() -> Image.Image:
        return saved(noise(mode, (451, 333)), "JPEG")

    expected = made()
    expected.draft(None, (shorter_side, shorter_side))
    assert torch.equal(decode(made(), len(mode), shorter_side), pixels(expected))


def test_a_jpeg_that_is_decoded_already_has_the_pixels_that_it_was_given():
    image = saved(noise(), "JPEG")
    image.load()
    image.putpixel((3, 2), (1, 2, 3))
    assert decode(image, 3)[:, 2, 3].tolist() == [1, 2, 3]


def test_sizes_are_asked_of_turned_jpegs_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = saved(Image.new("RGB", (640, 480)), "JPEG", exif=exif)
    assert decode(image, 3, 100).shape == (3, 160, 120)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("shorter_side", [None, 1])
def test_a_truncated_file_is_an_error(kind: str, shorter_side: int | None) -> None:
    buffer = io.BytesIO()
    noise(size=(200, 200)).save(buffer, kind)
    half = io.BytesIO(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode(Image.open(half), 3, shorter_side)


def test_a_decompression_bomb_is_an_error() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    file = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(file + struct.pack(">I", 0) + b"IDAT" + b"\0\0\0\0"), formats=picture_formats())


def writable_formats() -> list[str]:
    Image.init()
    stubs = {"BUFR", "GRIB", "HDF5", "WMF"}
    return [kind for kind in picture_formats() if kind in Image.SAVE and kind not in stubs]


@pytest.mark.filterwarnings("ignore:IM image format:DeprecationWarning")
@pytest.mark.parametrize("kind", writable_formats())
def test_every_format_that_pillow_reads_and_writes(kind: str) -> None:
    image = noise(size=(32, 32))
    for mode in ("RGB", "L", "P", "1", "F"):
        try:
            opened = saved(image.convert(mode), kind)
        except (OSError, ValueError, KeyError):  # the format does not know this mode
            continue
        assert decode(opened, 3).shape[0] == 3
        assert decode(saved(image.convert(mode), kind), 1).shape[0] == 1
        return
    pytest.fail(f"Pillow writes {kind} in no mode tried")


def test_no_format_that_starts_another_program_is_read() -> None:
    assert "EPS" not in picture_formats()
    assert ".eps" not in picture_suffixes()
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"} <= set(picture_formats())
    assert {".jpg", ".jpeg", ".png", ".webp", ".pgm", ".tif", ".bmp", ".gif"} <= set(picture_suffixes())


def test_photographs_are_what_torchvisions_folder_loads(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("ants_bees/val/*/*.jpg"))[::20]:
        got = decode(Image.open(path), 3)
        assert got.dtype == torch.uint8
        assert got.permute(1, 2, 0).is_contiguous()
        assert torch.equal(got, pil_to_tensor(default_loader(str(path))))
