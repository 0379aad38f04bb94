from __future__ import annotations

from typing import get_args

import pytest
import timm.layers
import torch
from torch import nn

from resnets.layers.attention import squeeze_excitation
from resnets.layers.convolution import convolution
from resnets.layers.normalisation import ACTIVATIONS, NORMS, Activation, Norm, group_norm
from resnets.layers.shortcuts import Shortcut, ZeroPad, shortcut


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_convolution_keeps_the_size_up_to_its_stride(kernel: int, stride: int, dilation: int) -> None:
    layer = convolution(4, 6, kernel, stride, dilation, groups=2)
    assert layer.bias is None
    for size in (16, 17):
        assert layer(torch.randn(1, 4, size, size)).shape == (1, 6, -(-size // stride), -(-size // stride))


@pytest.mark.parametrize("size", [8, 9])
def test_option_a_takes_every_second_pixel_and_adds_zeros(size: int) -> None:
    x = torch.randn(2, 4, size, size, requires_grad=True)
    y = ZeroPad(extra_channels=3, stride=2)(x)
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
    assert not y[:, 4:].any()
    y.sum().backward()
    expected = torch.zeros_like(x)
    expected[:, :, ::2, ::2] = 1
    assert torch.equal(x.grad, expected)


def test_option_a_keeps_channels_last_forward_and_backward() -> None:
    x = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = ZeroPad(extra_channels=4, stride=2)(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kind", "same", "changed"),
    [
        ("A", [], []),
        ("B", [], [(12, 8, 1, 1)]),
        ("C", [(8, 8, 1, 1)], [(12, 8, 1, 1)]),
        ("D", [], [(12, 8, 1, 1)]),
        ("none", [], []),
    ],
)
@pytest.mark.parametrize("size", [8, 9])
def test_shortcuts_have_the_shape_of_the_block_and_the_convolutions_of_table_3(
    kind: Shortcut, same: list[tuple[int, ...]], changed: list[tuple[int, ...]], size: int
) -> None:
    x = torch.randn(2, 8, size, size)
    for out_channels, stride, expected in ((8, 1, same), (12, 2, changed)):
        for norm in (nn.BatchNorm2d, None):
            module = shortcut(kind, 8, out_channels, stride, norm)
            assert module(x).shape == (2, out_channels, -(-size // stride), -(-size // stride))
            weights = [tuple(p.shape) for name, p in module.named_parameters() if p.dim() == 4]
            assert weights == expected
            norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
            assert len(norms) == (len(expected) if norm else 0)


def test_shortcut_d_averages_before_it_projects() -> None:
    module = shortcut("D", 2, 3, 2, None)
    x = torch.randn(1, 2, 6, 6)
    means = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    torch.testing.assert_close(module(x), module.conv(means))


def test_an_identity_that_changes_the_shape_is_an_error() -> None:
    assert isinstance(shortcut("identity", 8, 8, 1, None), nn.Identity)
    with pytest.raises(ValueError, match="cannot take 8 channels to 16 at stride 2"):
        shortcut("identity", 8, 16, 2, None)


def test_every_norm_and_activation_has_a_maker() -> None:
    assert set(NORMS) == set(get_args(Norm))
    assert set(ACTIVATIONS) == set(get_args(Activation))
    x = torch.randn(2, 16, 4, 4)
    for norm in NORMS.values():
        for activation in ACTIVATIONS.values():
            assert activation()(norm(16)(x)).shape == x.shape


@pytest.mark.parametrize(
    ("channels", "groups"), [(16, 8), (32, 16), (64, 32), (2048, 32), (160, 16), (1, 1), (21, 1), (65, 1)]
)
def test_group_norm_has_two_channels_or_more_in_a_group(channels: int, groups: int) -> None:
    layer = group_norm(channels)
    assert layer.num_groups == groups
    x = torch.randn(2, channels, 3, 3)
    mean = layer(x).reshape(2, groups, -1).mean(-1)
    torch.testing.assert_close(mean, torch.zeros(2, groups), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [16, 64, 200, 2048])
def test_squeeze_excitation_agrees_with_timm(channels: int) -> None:
    ours, theirs = squeeze_excitation(channels), timm.layers.SEModule(channels, rd_ratio=1 / 16)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, channels, 4, 4)
    torch.testing.assert_close(ours(x), theirs(x))


def test_group_norm_computes_in_float32_and_keeps_the_type() -> None:
    layer, x = group_norm(8), torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0)) + 100
    expected = torch.nn.functional.group_norm(x, 4)
    torch.testing.assert_close(layer(x), expected)
    rounded = x.bfloat16()
    found = layer(rounded)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, torch.nn.functional.group_norm(rounded.float(), 4).bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_group_norm_may_be_of_any_type_itself(dtype: torch.dtype) -> None:
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    found = group_norm(8).to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), torch.nn.functional.group_norm(x, 4), atol=0.02, rtol=0.02)
    assert group_norm(8, affine=False).to(dtype)(x.to(dtype)).dtype == dtype
