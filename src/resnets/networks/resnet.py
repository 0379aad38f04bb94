"""From a declaration to a residual network (arXiv:1512.03385), with torchvision's names of parameters.

    images (N, 3, H, W) -> stem -> layer1 -> ... -> layer4 -> mean over the map -> fc -> logits (N, K)

`preresnet.py` has the pre-activation networks, with timm's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from resnets.blocks.preactivation import PreactivationBasic, PreactivationBottleneck
from resnets.blocks.residual import Basic, BlockPlan, Bottleneck, Residual
from resnets.blocks.sequence import Blocks
from resnets.blocks.stems import stem_convolutions, stem_pool
from resnets.layers.fused import InTurn
from resnets.layers.normalisation import ACTIVATIONS, NORMS
from resnets.layers.pooling import global_average
from resnets.networks.architecture import Architecture
from resnets.networks.initialisation import SCALES, draw_weights
from resnets.networks.network import Network, feature_maps
from resnets.types import Stage

BLOCKS = {
    ("basic", False): Basic,
    ("bottleneck", False): Bottleneck,
    ("basic", True): PreactivationBasic,
    ("bottleneck", True): PreactivationBottleneck,
}


class ResidualNetwork(Network):
    """What post- and pre-activation networks share: all but the names of their parts.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of each map that `features` can give: "stem" (before its max-pool),
            "layer1", "layer2" and so on.
        logits_layer: the name of the layer that gives the logits.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    def features(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The maps (N, channels, H / stride, W / stride) of the stages named, of all unless given.

        Nothing is computed beyond the last stage asked for. A pre-activation network's last map has gone
        through the network's final normalisation and activation.

        Raises:
            ValueError: for an unknown stage, and for images of other channels or too small.
        """
        return feature_maps(x, self.stages, self.levels(), stages, self.architecture.in_channels)

    def blocks(self) -> dict[str, Residual]:
        """The residual blocks in order, by the names of their modules."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Residual)}


class ResNet(ResidualNetwork):
    """A residual network, or a plain one where the declaration says shortcut "none".

    Its modules are `conv1`, `bn1`, `activation`, `maxpool`, `layer1`..., `fc`, as in torchvision.
    """

    logits_layer = "fc"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        norm, activation = NORMS[a.norm], ACTIVATIONS[a.activation]
        convolutions = stem_convolutions(a.stem, a.in_channels, a.stem_width, norm, activation).values()
        self.conv1 = InTurn(*convolutions) if len(convolutions) > 1 else next(iter(convolutions))
        self.bn1 = norm(a.stem_width)
        self.activation = activation()
        self.maxpool = stem_pool(a.stem)
        for index, blocks in enumerate(build_blocks(a), start=1):
            self.add_module(f"layer{index}", Blocks(*blocks))
        self.fc = self.new_classifier()
        self.stages = plan_stages(a)
        initialise(self)

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The stem; the max-pool with the first stage; the other stages."""
        first, *others = (self.get_submodule(stage.name) for stage in self.stages[1:])
        return (self.conv1, self.bn1, self.activation), (self.maxpool, first), *((other,) for other in others)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        return self.fc(global_average(x).flatten(1))  # (N, C, H, W) -> (N, C) -> (N, num_classes)

    def new_classifier(self) -> nn.Module:
        """A linear layer."""
        a = self.architecture
        return nn.Linear(a.channels[-1], a.num_classes) if a.num_classes else nn.Identity()


def plan_stages(a: Architecture) -> tuple[Stage, ...]:
    """Name, channels and stride of the stem's map and of each stage's."""
    stages = [Stage("stem", a.stem_width, 1 if a.stem == "cifar" else 2)]
    stride = a.stem_stride
    for index, (channels, (stage_stride, _)) in enumerate(zip(a.channels, a.strides, strict=True), start=1):
        stride *= stage_stride
        stages.append(Stage(f"layer{index}", channels, stride))
    return tuple(stages)


def build_blocks(a: Architecture) -> Iterator[list[Residual]]:
    """The blocks of each stage. The first of a stage changes the shape, the others keep it."""
    channels, dilation_before, block = a.stem_width, 1, 0
    for depth, inner, out, (stride, dilation) in zip(a.depths, a.inner_channels, a.channels, a.strides, strict=True):
        blocks = []
        for index in range(depth):
            block += 1
            plan = BlockPlan(
                in_channels=channels,
                inner_channels=inner,
                out_channels=out,
                norm=NORMS[a.norm],
                activation=ACTIVATIONS[a.activation],
                shortcut=a.shortcut,
                stride=stride if index == 0 else 1,
                stride_first=a.stride_at == "1x1",
                dilations=(dilation_before, dilation),
                groups=a.groups,
                squeeze_excitation=a.squeeze_excitation,
                dropout=a.dropout,
                drop_path=a.drop_path * block / sum(a.depths),
                scale=SCALES.get(a.init),
            )
            blocks.append(BLOCKS[a.block, a.preactivation](plan))
            channels, dilation_before = out, dilation
        yield blocks


def initialise(network: ResidualNetwork) -> None:
    """Draw the weights as the declaration says; norms begin as identities, the classifier as PyTorch has it.

    With `zero_init_last`, each block's last scale begins at zero.
    """
    a, blocks = network.architecture, network.blocks()
    branches = [block.convolutions() for block in blocks.values()]
    draw_weights(network, a.init, branches, network.get_submodule(network.logits_layer))
    if a.zero_init_last:
        for block in blocks.values():
            nn.init.zeros_(block.get_parameter(f"{block.last}.weight"))
