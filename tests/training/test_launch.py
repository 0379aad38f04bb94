"""Devices, processes and strategies: each option works, or is refused in a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resnets.networks.catalogue import architecture, build
from resnets.training.engine import create_engine
from resnets.training.launch import Launch, find_launch
from resnets.training.recipe import Recipe
from resnets.training.sharding import check_sharded, why_not_sharded
from resnets.training.train import begun_before, train

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "TORCHELASTIC_MAX_RESTARTS": "3"}
TORCHRUN |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
SRUN = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch()),
        (TORCHRUN, Launch("torchrun", 4, 2, 0, may_restart=True)),
        (TORCHRUN | {"TORCHELASTIC_RESTART_COUNT": "2"}, Launch("torchrun", 4, 2, 2, may_restart=True)),
        (SRUN, Launch("srun", 4, 2)),
        (SRUN | {"SLURM_RESTART_COUNT": "1"}, Launch("srun", 4, 2, restarts=1)),
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, Launch()),
    ],
    ids=["nobody", "torchrun", "torchrun again", "srun", "srun again", "a shell of SLURM"],
)
def test_who_started_it(environment, expected):
    assert find_launch(environment) == expected


def test_what_was_started_is_taken_and_nothing_else():
    started = find_launch(TORCHRUN)
    assert started.shape("auto", None) == started.shape("4", 2) == started.shape(4, None) == (4, 2)
    with pytest.raises(ValueError, match="torchrun has started 4 processes on each of 2 nodes, but --devices 2"):
        started.shape(2, None)
    with pytest.raises(ValueError, match="--nodes 3 are asked for"):
        started.shape("auto", 3)
    assert Launch().shape(2, None) == (2, 1)
    with pytest.raises(ValueError, match="--nodes 2 needs a launcher on each node: torchrun --nnodes 2"):
        Launch().shape("auto", 2)
    with pytest.raises(ValueError, match="start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        find_launch(TORCHRUN | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "0"})
    with pytest.raises(ValueError, match="srun --ntasks-per-node"):
        find_launch({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "dp"}, "strategy must be one of auto, ddp, fsdp, not 'dp'"),
        ({"accelerator": "gpu"}, "accelerator must be one of"),
        ({"precision": "64"}, "precision must be one of"),
        ({"accelerator": "cpu", "devices": "0,1"}, "devices must be auto or a number of processes"),
        ({"accelerator": "cpu", "devices": 0}, "devices must be auto or a number of processes"),
        ({"accelerator": "mps", "devices": 2}, "2 devices of the kind mps are asked for"),
        ({"accelerator": "cuda", "devices": 99}, "99 devices of the kind cuda are asked for"),
        ({"accelerator": "cpu", "strategy": "fsdp"}, "strategy fsdp deals the network out to several processes"),
        (
            {"accelerator": "cpu", "devices": 2, "strategy": "fsdp", "precision": "16-mixed"},
            "fsdp does not scale the loss",
        ),
    ],
)
def test_an_engine_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_engine(**options)


def test_a_training_that_may_be_started_anew_is_named(monkeypatch, tmp_path):
    assert begun_before(None, overwrite=True) is None
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    for options in ({"run": None}, {"run": tmp_path / "run", "overwrite": True}):
        with pytest.raises(ValueError, match="name one that is not there with --run, and leave --overwrite out"):
            train("digits", **options)
    assert begun_before(tmp_path / "run", overwrite=False) is None  # nothing has begun yet
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").touch()
    assert begun_before(tmp_path / "run", overwrite=False) is None  # somebody else's, which training refuses
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert begun_before(tmp_path / "run", overwrite=False) == tmp_path / "run"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 0.9, "sync_bn": True}, "gives each process a part of the weights, and ema needs all"),
        ({"head_first": True, "find_lr": True, "sync_bn": True}, "find_lr, head_first needs all"),
        ({"optimizer": "muon", "sync_bn": True}, "muon needs whole matrices"),
        ({}, "batch norm statistics of its own; add --sync-bn"),
    ],
)
def test_what_needs_whole_weights_is_refused_with_fsdp(changes, message):
    with pytest.raises(ValueError, match=message):
        check_sharded(Recipe(**changes), build(architecture("resnet8")))
    check_sharded(Recipe(), build(replace(architecture("resnet8"), norm="group")))


def test_a_run_that_was_begun_with_whole_weights_is_not_gone_on_with_by_fsdp():
    group = {"params": [0, 1]}
    begun_whole = {"optimiser": {"param_groups": [group]}}
    assert "begun with whole weights; go on with --strategy ddp" in (why_not_sharded(begun_whole) or "")
    assert why_not_sharded({"optimiser": {"param_groups": [group | {"params": ["conv1.weight"]}]}}) is None
