"""Model repositories of other servers: in the layout that they document, of graphs that have those inputs and outputs.

`ModelConfig` below is the part of Triton's model_config.proto that is written, by the names, numbers and types there;
protobuf's parser refuses whatever else stands in a file.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnxruntime
import openvino
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from resnets.cli.main import main
from resnets.inference.export import write_export
from resnets.inference.parts import FILE as FOLLOWING
from resnets.inference.predictor import load
from resnets.inference.repository import write_repository
from resnets.inference.samples import made_files
from resnets.runs.run import Run, find_run

RUN = "resnet20-cifar10"
FIELD = descriptor_pb2.FieldDescriptorProto
TRITON = {
    "Value": {"string_value": (1, FIELD.TYPE_STRING, "")},
    "Entry": {"key": (1, FIELD.TYPE_STRING, ""), "value": (2, FIELD.TYPE_MESSAGE, "Value")},
    "Batching": {},
    "Input": {
        "name": (1, FIELD.TYPE_STRING, ""),
        "data_type": (2, FIELD.TYPE_ENUM, "DataType"),
        "dims": (4, FIELD.TYPE_INT64, "*"),
    },
    "Output": {
        "name": (1, FIELD.TYPE_STRING, ""),
        "data_type": (2, FIELD.TYPE_ENUM, "DataType"),
        "dims": (3, FIELD.TYPE_INT64, "*"),
        "label_filename": (4, FIELD.TYPE_STRING, ""),
    },
    "ModelConfig": {
        "name": (1, FIELD.TYPE_STRING, ""),
        "max_batch_size": (4, FIELD.TYPE_INT32, ""),
        "input": (5, FIELD.TYPE_MESSAGE, "*Input"),
        "output": (6, FIELD.TYPE_MESSAGE, "*Output"),
        "dynamic_batching": (11, FIELD.TYPE_MESSAGE, "Batching"),
        "parameters": (14, FIELD.TYPE_MESSAGE, "*Entry"),
        "backend": (17, FIELD.TYPE_STRING, ""),
    },
}
DATA_TYPES = {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11}


@pytest.fixture(scope="module")
def parse():
    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="triton", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for name, number in DATA_TYPES.items():
        kinds.value.add(name=name, number=number)
    for message, fields in TRITON.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind, more) in fields.items():
            label = FIELD.LABEL_REPEATED if more.startswith("*") else FIELD.LABEL_OPTIONAL
            field = declared.field.add(name=name, number=number, type=kind, label=label)
            if other := more.lstrip("*"):
                field.type_name = f".triton.{other}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))
    return lambda path: text_format.Parse(path.read_text(encoding="utf-8"), config())


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """By format and batch."""
    folder = tmp_path_factory.mktemp("exports")
    source = find_run(RUN)
    return {
        (format, batch): write_export(source, folder / f"{format}-{batch}", format, batch=batch).run
        for format, batch in (("onnx", None), ("onnx", 4), ("openvino", None))
    }


def real_ports(version, format):
    """Names, Triton's types and shapes by the engines' own libraries, -1 for any number."""
    if format == "onnx":
        session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
        kinds = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
        return [
            [(p.name, kinds[p.type], [s if isinstance(s, int) else -1 for s in p.shape]) for p in ports]
            for ports in (session.get_inputs(), session.get_outputs())
        ]
    model, kinds = openvino.Core().read_model(version / "model.xml"), {"u8": "TYPE_UINT8", "f32": "TYPE_FP32"}
    return [
        [
            (
                one.any_name,
                kinds[one.element_type.get_type_name()],
                [side.get_max_length() for side in one.partial_shape],
            )
            for one in ports
        ]
        for ports in (model.inputs, model.outputs)
    ]


@pytest.mark.parametrize(("format", "batch"), [("onnx", None), ("onnx", 4), ("openvino", None)])
def test_tritons_configuration_is_that_of_the_graph(exports, parse, tmp_path, format, batch):
    version = write_repository(exports[format, batch], tmp_path, "triton", "cifar")
    assert version == tmp_path / "cifar" / "1"
    config = parse(tmp_path / "cifar" / "config.pbtxt")
    assert (config.name, config.backend) == ("cifar", {"onnx": "onnxruntime", "openvino": "openvino"}[format])
    gathers = (format, batch) == ("onnx", None)
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == ((32, True) if gathers else (0, False))
    batched = [-1] if gathers else []
    for told, real in zip((config.input, config.output), real_ports(version, format), strict=True):
        names = {number: name for name, number in DATA_TYPES.items()}
        assert [(port.name, names[port.data_type], [*batched, *port.dims]) for port in told] == real
    assert [side for port in config.input for side in port.dims][-3:] == [32, 32, 3]
    labels = (tmp_path / "cifar" / config.output[0].label_filename).read_text().splitlines()
    assert labels == list(find_run(RUN).card().classes)


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_openvinos_configuration_names_a_folder_of_versions(exports, tmp_path, format):
    for number in (1, 2):
        assert write_repository(exports[format, None], tmp_path, "ovms", "cifar").name == str(number)
    write_repository(exports[format, None], tmp_path, "ovms", "other")
    entries = json.loads((tmp_path / "config.json").read_text())["model_config_list"]
    assert [entry["config"]["name"] for entry in entries] == ["cifar", "other"]
    for entry in entries:
        assert entry["config"]["plugin_config"] == {"INFERENCE_PRECISION_HINT": "f32"}
        versions = {path.name for path in (tmp_path / entry["config"]["base_path"]).iterdir() if path.is_dir()}
        assert versions == ({"1", "2"} if entry["config"]["name"] == "cifar" else {"1"})
        for version in versions:
            suffixes = {path.suffix for path in (tmp_path / entry["config"]["base_path"] / version).iterdir()}
            assert suffixes == ({".xml", ".bin", ".json"} if format == "openvino" else {".onnx", ".json"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar", "config.json", "other"]


def test_a_version_is_a_run_that_answers_as_before(exports, tmp_path):
    version = write_repository(exports["onnx", None], tmp_path, "triton", "cifar")
    picture = next(made_files(1))
    expected, found = (load(run, exact=True)(picture) for run in (exports["onnx", None].folder, version))
    assert expected.classes == found.classes
    np.testing.assert_allclose(found.probabilities, expected.probabilities)


def test_what_does_not_fit_is_said(exports, tmp_path, capsys, monkeypatch):
    onnx = exports["onnx", None]
    (tmp_path / "config.json").write_text("[]")
    half = Run(shutil.copytree(onnx.folder, tmp_path / "half"))
    (half.folder / FOLLOWING).touch()
    for run, server, name, sentence in [
        (onnx, "torchserve", "x", "there is no server 'torchserve'; there is triton, ovms"),
        (onnx, "triton", "../x", "'../x' is no name for a model"),
        (find_run(RUN), "ovms", "x", "ovms takes exports to openvino or onnx, not to None"),
        (half, "triton", "x", "half is one step of resnet20, which no server repeats or finishes"),
        (onnx, "ovms", "x", "is no configuration of OpenVINO Model Server"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            write_repository(run, tmp_path, server, name)
    for entries in ({"model_config_list": [{"name": "x"}]}, {"model_config_list": {"x": 1}}):
        (tmp_path / "config.json").write_text(json.dumps(entries))
        with pytest.raises(ValueError, match="is no configuration of OpenVINO Model Server"):
            write_repository(onnx, tmp_path, "ovms", "x")
    assert not (tmp_path / "x").exists()
    odd = shutil.copytree(find_run(RUN).folder, tmp_path / "odd name")
    monkeypatch.setattr("resnets.cli.export.write_export", None)  # this is said before anything is made
    assert main(["export", str(odd), "--for", "triton"]) == 1
    assert "'odd name' is no name for a model" in capsys.readouterr().err
    assert main(["export", RUN, "--for", "triton", "--format", "torch", "--to", str(tmp_path / "new")]) == 1
    assert "triton takes exports to onnx or openvino, not to torch" in capsys.readouterr().err
    assert main(["export", str(onnx.folder), "--for", "triton", "--precision", "int8"]) == 1
    assert "is an export already and stays as it is" in capsys.readouterr().err
    assert main(["export", RUN, "--for", "triton", "--overwrite"]) == 1
    assert "leave out --overwrite" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_command_exports_on_its_way(exports, tmp_path, capsys):
    assert main(["export", RUN, "--for", "triton", "--to", str(tmp_path)]) == 0
    assert f"{RUN}, version 1" in capsys.readouterr().out
    assert Run(tmp_path / RUN / "1").card().export["format"] == "onnx"
    assert main(["export", f"{RUN}+{RUN}", "--for", "ovms", "--to", str(tmp_path / "mean")]) == 0
    assert (tmp_path / "mean" / f"{RUN}-{RUN}" / "1" / "model.xml").is_file()
    export = exports["onnx", 4].folder
    assert main(["export", str(export), "--for", "ovms", "--to", str(tmp_path / "ovms")]) == 0
    assert (tmp_path / "ovms" / export.name / "1" / "model.onnx").is_file()
