from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.blocks.preactivation import PreactivationBasic, PreactivationBottleneck
from resnets.blocks.residual import Basic, BlockPlan, Bottleneck, Residual
from resnets.blocks.stems import Stem, stem_convolutions, stem_pool
from resnets.layers import fused, native

PLAN = BlockPlan(8, 8, 8, norm=nn.BatchNorm2d, activation=lambda: nn.ReLU(inplace=True))
WIDER = replace(PLAN, out_channels=16, stride=2)
ALL = [Basic, Bottleneck, PreactivationBasic, PreactivationBottleneck]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def after(block: Residual, y: Tensor) -> Tensor:
    """What the block does to its sum."""
    return y if hasattr(block, "preactivate") else F.relu(y)


@pytest.mark.parametrize("plan", [PLAN, WIDER, replace(WIDER, shortcut="A"), replace(PLAN, shortcut="C")])
@pytest.mark.parametrize("kind", ALL)
def test_a_block_is_the_sum_of_its_paths_and_either_can_be_switched_off(
    kind: type[Residual], plan: BlockPlan, x: Tensor
) -> None:
    block = kind(plan).eval()
    before = x.clone()
    shortcut, residual = block.shortcut(x), block.residual(x)
    assert shortcut.shape == residual.shape == (4, plan.out_channels, 8 // plan.stride, 8 // plan.stride)
    torch.testing.assert_close(block(x), after(block, shortcut + residual))
    block.use_residual = False
    torch.testing.assert_close(block(x), after(block, shortcut))
    block.use_residual, block.use_shortcut = True, False
    torch.testing.assert_close(block(x), after(block, residual))
    block.use_residual = False
    with pytest.raises(ValueError, match="both are switched off"):
        block(x)
    assert torch.equal(x, before), "a block must not change its input"


@pytest.mark.parametrize("kind", ALL)
def test_a_plain_block_has_no_shortcut(kind: type[Residual], x: Tensor) -> None:
    block = kind(replace(WIDER, shortcut="none")).eval()
    torch.testing.assert_close(block(x), after(block, block.residual(x)))


@pytest.mark.parametrize("shortcut", ["A", "none"])
@pytest.mark.parametrize("kind", ALL)
def test_a_hook_on_drop_path_sees_the_residual(kind: type[Residual], shortcut: str, x: Tensor) -> None:
    block, seen = kind(replace(WIDER, shortcut=shortcut)).eval(), []
    block.drop_path.register_forward_hook(lambda *call: seen.append(call[2]))
    block(x)
    torch.testing.assert_close(seen, [block.residual(x)])


@pytest.mark.parametrize("kind", ALL)
def test_preactivation_is_computed_once(kind: type[Residual], x: Tensor) -> None:
    block = kind(WIDER)
    block(x)
    counts = {int(m.num_batches_tracked) for m in block.modules() if isinstance(m, nn.BatchNorm2d)}
    assert counts == {1}


@pytest.mark.parametrize("kind", ALL)
def test_drop_path_drops_whole_pictures_at_its_rate_and_keeps_the_expectation(kind: type[Residual]) -> None:
    rate, count = 0.3, 4000
    block = kind(replace(PLAN, drop_path=rate))
    x = torch.randn(1, 8, 2, 2).expand(count, -1, -1, -1)
    outputs: list[Tensor] = []
    block.drop_path.register_forward_hook(lambda *call: outputs.extend([call[1][0], call[2]]))
    torch.manual_seed(1)
    block(x)
    residual, dropped = outputs
    kept = dropped.flatten(1).abs().sum(1) > 0
    torch.testing.assert_close(dropped[kept], residual[kept] / (1 - rate))
    error = 4 * (rate * (1 - rate) / count) ** 0.5
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=error)
    torch.manual_seed(1)
    block(x)
    assert torch.equal(outputs[3], dropped), "the same seed drops the same pictures"
    block.eval()
    block(x)
    assert torch.equal(outputs[5], outputs[4])


@pytest.mark.parametrize("kind", ALL)
def test_dropout_stands_before_the_last_convolution(kind: type[Residual], x: Tensor) -> None:
    block, seen = kind(replace(PLAN, dropout=0.5)), []
    last = [module for module in block.modules() if isinstance(module, nn.Conv2d)][-1]
    last.register_forward_hook(lambda *call: seen.append(call[1][0]))
    block(x)
    block.eval()(x)
    zeros = [(inputs == 0).float().mean().item() for inputs in seen]
    assert zeros[0] == pytest.approx(0.5 + zeros[1] / 2, abs=0.1)


@pytest.mark.parametrize("kind", ALL)
def test_squeeze_excitation_weighs_the_residual(kind: type[Residual], x: Tensor) -> None:
    block = kind(replace(PLAN, squeeze_excitation=True)).eval()
    seen: list[Tensor] = []
    block.se.register_forward_hook(lambda *call: seen.append(call[1][0]))
    weighed = block.residual(x)
    ratio = (weighed / seen[0]).flatten(2)
    torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio), rtol=1e-3, atol=1e-4)
    assert ratio.min() > 0
    assert ratio.max() < 1


def test_the_stride_stands_on_the_3x3_or_on_the_first_1x1() -> None:
    later, first = Bottleneck(WIDER), Bottleneck(replace(WIDER, stride_first=True))
    assert (later.conv1.stride, later.conv2.stride) == ((1, 1), (2, 2))
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))


@pytest.mark.parametrize(
    ("kind", "kernels", "stride"), [("imagenet", [7], 4), ("deep", [3, 3, 3], 4), ("cifar", [3], 1)]
)
def test_stems(kind: Stem, kernels: list[int], stride: int) -> None:
    layers = stem_convolutions(kind, 3, 16, nn.BatchNorm2d, nn.ReLU)
    assert [m.kernel_size[0] for m in layers.values() if isinstance(m, nn.Conv2d)] == kernels
    y = stem_pool(kind)(nn.Sequential(layers)(torch.randn(2, 3, 32, 32)))
    assert y.shape == (2, 16, 32 // stride, 32 // stride)


def of_bfloat16(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16().to(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ALL)
def test_who_watches_a_part_of_a_block_sees_the_gradient_of_both_paths(kind, monkeypatch):
    monkeypatch.setattr(native, "SMALLEST", 1)
    block = kind(replace(PLAN, in_channels=32, inner_channels=32, out_channels=32)).to(
        memory_format=torch.channels_last
    )
    x, seen = of_bfloat16(2, 32, 4, 4).requires_grad_(), []
    block.downsample.register_forward_hook(lambda *given: seen.append(given[-1]))
    with torch.autocast("cpu", torch.bfloat16):
        loss = block(x).float().square().sum()
    assert seen[0] is x
    assert torch.equal(*torch.autograd.grad(loss, (x, seen[0])))


@pytest.mark.parametrize("kind", [Basic, Bottleneck])
@pytest.mark.parametrize("plan", [PLAN, WIDER])
def test_a_block_in_bfloat16_is_no_further_from_that_of_float32_than_without_a_compiler(kind, plan, monkeypatch):
    monkeypatch.setattr(native, "SMALLEST", 1)
    torch.manual_seed(0)
    wider = {name: 4 * getattr(plan, name) for name in ("in_channels", "inner_channels", "out_channels")}
    block = kind(replace(plan, **wider)).to(memory_format=torch.channels_last)
    x = torch.randn(4, 32, 8, 8).to(memory_format=torch.channels_last)

    def made(dtype: torch.dtype) -> list[Tensor]:
        given = x.to(dtype, copy=True).requires_grad_()
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = block(given)
        y.float().square().mean().backward()
        return [y, given.grad, *(parameter.grad.clone() for parameter in block.parameters())]

    exact, found = made(torch.float32), made(torch.bfloat16)
    monkeypatch.setattr(fused, "library", lambda _: None)
    for one, other, expected in zip(found, made(torch.bfloat16), exact, strict=True):
        assert (one - expected).norm() < 1.2 * (other - expected).norm() + 1e-3 * expected.norm()


def test_a_block_that_changes_its_residual_is_asked_for_it(x):
    class Half(Basic):
        def residual(self, x: Tensor) -> Tensor:
            return super().residual(x) / 2

    block = Half(PLAN)
    torch.testing.assert_close(block(x), F.relu(x + block.residual(x)), rtol=1e-4, atol=1e-5)
