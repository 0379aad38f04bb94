from __future__ import annotations

import json
from dataclasses import replace

import pytest

from resnets.networks.architecture import Architecture
from resnets.networks.catalogue import CATALOGUE, architecture, declaration_from_dict

R18 = Architecture(depths=(2, 2, 2, 2), block="basic")
R50 = Architecture(depths=(3, 4, 6, 3))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_declaration_goes_through_json_and_comes_back(name: str) -> None:
    declaration = architecture(name)
    assert declaration_from_dict(json.loads(json.dumps(declaration.to_dict()))) == declaration
    assert hash(declaration) == hash(replace(declaration))


def test_from_dict_refuses_what_it_does_not_know() -> None:
    values = R18.to_dict()
    with pytest.raises(ValueError, match="no colour, depht"):
        declaration_from_dict(values | {"depht": 3, "colour": 1})
    with pytest.raises(
        ValueError, match="no family of networks 'transformer'; there are resnet, vgg, densenet, efficientnet"
    ):
        declaration_from_dict(values | {"family": "transformer"})
    with pytest.raises(ValueError, match="of family 'vgg', not 'resnet'"):
        Architecture.from_dict(values | {"family": "vgg"})
    with pytest.raises(ValueError, match="drop_path"):
        declaration_from_dict(values | {"drop_path": 2})


@pytest.mark.parametrize("values", [None, [], "resnet", {"family": []}])
def test_what_is_no_declaration(values: object) -> None:
    with pytest.raises(ValueError, match=r"a declaration is an object|no family of networks"):
        declaration_from_dict(values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "resnet"}, "Architecture cannot be made of what is given: .*depths"),
        ({"family": "detector", "method": "yolo"}, "DetectorArchitecture cannot be made of what is given: .*backbone"),
        (architecture("yolo_resnet18").to_dict() | {"score_threshold": "high"}, "DetectorArchitecture cannot be made"),
        (architecture("yolo_resnet18").to_dict() | {"backbone": None}, "a declaration is an object .*not None"),
    ],
)
def test_what_is_not_whole_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declaration_from_dict(values)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (R50, {"depths": ()}, "depths must be"),
        (R50, {"depths": (3, 0, 6, 3)}, "depths must be"),
        (R50, {"depths": [3, 4, 6, 3]}, "depths must be a tuple"),
        (R50, {"depths": (3, 4)}, "one number for each stage"),
        (R50, {"widths": (64, 128, 256, 1.5)}, "widths must be"),
        (R50, {"block": "dense"}, "block must be one of 'basic', 'bottleneck', not 'dense'"),
        (R50, {"stem": "big"}, "stem must be one of"),
        (R50, {"shortcut": "E"}, "shortcut must be one of"),
        (R50, {"norm": "instance"}, "norm must be one of"),
        (R50, {"activation": "tanh"}, "activation must be one of"),
        (R50, {"stride_at": "2x2"}, "stride_at must be one of"),
        (R50, {"output_stride": 4}, "output_stride must be one of None, 8, 16"),
        (R50, {"preactivation": "yes"}, "preactivation must be one of False, True"),
        (R50, {"stem_width": 0}, "stem_width must be"),
        (R50, {"stem_width": True}, "stem_width must be"),
        (R50, {"stem": "deep", "stem_width": 63}, "even stem_width"),
        (R50, {"in_channels": 0}, "in_channels must be"),
        (R50, {"num_classes": -1}, "num_classes must be"),
        (R50, {"drop_path": 1.0}, "drop_path must be a rate"),
        (R50, {"dropout": -0.1}, "dropout must be a rate"),
        (R50, {"width_per_group": 4, "widths": (8, 16, 32, 64)}, "no multiple of 64"),
        (R18, {"groups": 2}, "groups=2 needs block='bottleneck'"),
        (R18, {"width_per_group": 128}, "width_per_group=128 needs block='bottleneck'"),
        (R18, {"stride_at": "1x1"}, "stride_at='1x1' needs block='bottleneck'"),
        (R50, {"preactivation": True, "stride_at": "1x1"}, "pre-activation networks have '3x3'"),
        (R50, {"norm": "frozen", "zero_init_last": True}, "would keep F"),
        (R18, {"shortcut": "none", "zero_init_last": True}, "a plain network has nothing else"),
        (R18, {"shortcut": "none", "drop_path": 0.1}, "a plain network has nothing else"),
        (architecture("preresnet20"), {"norm": "none", "init": "skipinit", "zero_init_last": True}, "leave zero_init"),
        (
            architecture("preresnet20"),
            {"norm": "none", "init": "fixup", "zero_init_last": True},
            "leave zero_init_last",
        ),
        (R18, {"shortcut": "A", "widths": (64, 128, 64, 128)}, "can only add channels"),
        (R18, {"shortcut": "none", "stem_width": 128}, "can only add channels"),
        (R18, {"shortcut": "identity"}, "needs a single stage"),
        (architecture("resnet20"), {"output_stride": 8}, "output_stride=8 does nothing"),
    ],
)
def test_contradictions_are_named(base: Architecture, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(base, **changes)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        *((f"resnet{n}", n) for n in (18, 34, 50, 101, 152, 200, 20, 32, 44, 56, 110, 1202, 68)),
        *((f"plain{n}", n) for n in (18, 34, 20, 110, 14)),
        *((f"preresnet{n}", n) for n in (50, 110, 164, 1001, 29)),
    ],
)
def test_names_count_layers_as_the_papers_do(name: str, layers: int) -> None:
    assert architecture(name).layers == layers


def test_strides_become_dilation() -> None:
    assert R50.strides == ((1, 1), (2, 1), (2, 1), (2, 1))
    assert replace(R50, output_stride=16).strides == ((1, 1), (2, 1), (2, 1), (1, 2))
    assert replace(R50, output_stride=8).strides == ((1, 1), (2, 1), (1, 2), (1, 4))
