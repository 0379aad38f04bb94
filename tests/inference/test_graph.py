"""What stands before a network in a graph, beside torchvision."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets.data.views import view
from resnets.inference.graph import Outputs, Resize, folded, graph_of
from resnets.types import Preprocessing


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(75, 100), (100, 66), (40, 40), (21, 30), (33, 200)])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_resizing_by_matrices_is_torchvisions(interpolation: str, height: int, width: int, crop: float) -> None:
    preprocessing = Preprocessing((40, 32), 3, (0.5,) * 3, (0.2,) * 3, crop, interpolation)
    coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(height)) * 255
    picture = F.interpolate(coarse, (height, width), mode="bilinear")[0].byte()
    difference = (Resize(preprocessing)(picture[None].float())[0] - view(picture, preprocessing)).abs()
    assert difference.max() <= 1
    assert difference.mean() < 0.06


def test_a_norm_is_folded_only_where_it_alone_reads_the_convolution() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 3, groups=2)
            self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            x = x + F.relu(self.norm1(x))  # the convolution is read twice
            return self.norm2(self.second(x))

    torch.manual_seed(0)
    network = Both()
    network(torch.randn(64, 3, 8, 8))  # statistics
    network.eval()
    images = torch.randn(3, 3, 8, 8)
    expected = network(images)
    found = folded(network, images)
    left = [node for node in found.graph.nodes if "batch_norm" in str(node.target)]
    assert len(left) == 1
    torch.testing.assert_close(found(images), expected, atol=1e-5, rtol=1e-5)


def test_a_network_that_ends_in_float32_is_a_graph_in_bfloat16() -> None:
    class Ending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x).float() @ torch.arange(6.0)

    preprocessing = Preprocessing((8, 8), 3, (0.5,) * 3, (0.2,) * 3)
    pixels = torch.randint(256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network = Ending().requires_grad_(False)
    exact, rounded = (
        graph_of(network, preprocessing, dtype=dtype).program.module()(pixels)[0]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.3)
    assert not torch.equal(rounded, exact)


def test_outputs_are_taken_apart_and_put_together() -> None:
    a, b = torch.zeros(1), torch.ones(2)
    for answer in (a, (a, b), {"a": a, "b": b}):
        outputs = Outputs.of(answer)
        again = outputs.together(outputs.apart(answer))
        assert type(again) is type(answer)
        assert len(outputs.labels()) == len(outputs.apart(answer))
    with pytest.raises(TypeError, match="gives tensors"):
        Outputs.of("a")
