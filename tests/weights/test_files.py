from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from resnets.weights.files import read_tensors, write_tensors

TENSORS = {
    "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "b.c": torch.arange(5),
    "d": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    "e": torch.randn(7).to(torch.bfloat16),
    "f": torch.tensor(float("nan")),
}


def assert_same(read: dict[str, torch.Tensor]) -> None:
    assert read.keys() == TENSORS.keys()
    for key, value in TENSORS.items():
        assert read[key].dtype == value.dtype
        assert read[key].shape == value.shape
        same_bits = read[key].contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(same_bits, value.contiguous().reshape(-1).view(torch.uint8))


def test_safetensors_keeps_every_bit(tmp_path: Path) -> None:
    write_tensors(TENSORS, tmp_path / "x.safetensors")
    assert_same(read_tensors(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".ckpt", ".bin", ".pth.tar", ".PTH"])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
def test_pytorch_files_as_training_scripts_leave_them(tmp_path: Path, suffix: str, key: str | None) -> None:
    torch.save({key: TENSORS, "epoch": 3} if key else TENSORS, tmp_path / f"x{suffix}")
    assert_same(read_tensors(tmp_path / f"x{suffix}"))


def test_an_average_over_training_goes_first(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": TENSORS, "epoch": 3}
    torch.save({"model": content}, tmp_path / "x.pth")
    assert_same(read_tensors(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    "content",
    [
        {"model": TENSORS, "ema": {"decay": 0.99, "shadow_params": [torch.zeros(2, 2)]}},
        {"model": TENSORS, "ema": {"decay": torch.tensor(0.99)}},
        {"state_dict": TENSORS, "ema": {}},
        {"params": {"a": torch.zeros(2, 2)}, "params_ema": TENSORS},
        {"weights": TENSORS},
    ],
)
def test_a_key_that_holds_no_network_is_passed_over(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save(content, tmp_path / "x.pth")
    assert_same(read_tensors(tmp_path / "x.pth"))


def test_what_stands_beside_tensors_is_left_out_and_told(tmp_path: Path) -> None:
    torch.save({**TENSORS, "epoch": 3, "best": 0.5}, tmp_path / "x.pth")
    with pytest.warns(UserWarning, match=r"x\.pth holds epoch, best beside its tensors, which is left out"):
        assert_same(read_tensors(tmp_path / "x.pth"))


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, object] = {}
    content["model"] = content
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="does not hold a network's tensors"):
        read_tensors(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1, 1).expand(3_000_000, 64), torch.empty(8, 8, device="meta")],
    ids=["expanded", "meta"],
)
def test_a_tensor_that_is_more_than_the_file_holds_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"fc.weight": tensor}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"holds fc\.weight, which claims more numbers than are in the file"):
        read_tensors(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_program_and_a_web_page_are_called_what_they_are(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "x.pt"))
    with pytest.raises(ValueError, match=r"x\.pt is a TorchScript program"):
        read_tensors(tmp_path / "x.pt")
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_text("\n<!DOCTYPE html><html><body>Not found</body></html>")
        with pytest.raises(ValueError, match="is a web page and holds no weights"):
            read_tensors(tmp_path / name)


class Bomb:
    """Runs a command where it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1), "b": Bomb(tmp_path / "ran")}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth was not read: unpickling it would run (nt|posix)\.mkdir"):
        read_tensors(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100), bytes(64)])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.(pth|safetensors)"):
        read_tensors(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    torch.save(TENSORS, path) if suffix == ".pth" else write_tensors(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"x\.(pth|safetensors)"):
        read_tensors(path)


def test_other_contents_and_other_files(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    torch.save({1: torch.zeros(1)}, tmp_path / "keys.pth")
    for name in ("list", "numbers", "keys"):
        with pytest.raises(ValueError, match=f"{name}.pth does not hold a network's tensors"):
            read_tensors(tmp_path / f"{name}.pth")
    (tmp_path / "x.pkl").touch()
    with pytest.raises(ValueError, match="are read"):
        read_tensors(tmp_path / "x.pkl")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        read_tensors(tmp_path / "absent.pth")
