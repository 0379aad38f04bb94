from __future__ import annotations

import base64
import io

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from resnets.report.pictures import embed


def decoded(address: str) -> Image.Image:
    head, _, data = address.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 128, 90), (1, 1, 1), (3, 5, 1)])
def test_small_pictures_keep_every_pixel(shape: tuple[int, int, int]):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = embed(pixels)
    assert picture.tiny
    assert (picture.height, picture.width) == shape[1:]
    assert torch.equal(pil_to_tensor(decoded(picture.address)), pixels)


@pytest.mark.parametrize(("shape", "size"), [((3, 640, 480), (216, 288)), ((1, 200, 250), (250, 200))])
def test_photographs_are_made_smaller_and_stay_alike(shape: tuple[int, int, int], size: tuple[int, int]):
    rows = torch.linspace(0, 255, shape[1])[None, :, None].expand(shape).to(torch.uint8)
    picture = embed(rows)
    assert not picture.tiny
    assert (picture.width, picture.height) == size
    small = pil_to_tensor(decoded(picture.address)).float()
    assert len(small) == shape[0]
    expected = torch.linspace(0, 255, size[1])[None, :, None]
    assert (small - expected).abs().max() < 6


@pytest.mark.parametrize(
    "pixels",
    [torch.zeros(3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)],
)
def test_anything_else_is_refused(pixels: torch.Tensor):
    with pytest.raises(ValueError, match=r"uint8 of shape \(1 or 3, H, W\)"):
        embed(pixels)
