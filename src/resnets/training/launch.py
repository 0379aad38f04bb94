"""Who started this process: torchrun, SLURM's srun, or nobody but a user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not declared so
from torch.distributed.rendezvous import rendezvous

ALONE = ("bash", "interactive")
"""Names of SLURM jobs whose processes were not started by srun to work together; Fabric's rule."""

OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""The variable by which torchrun gives the processes of each restart a store of their own."""


@dataclass(frozen=True)
class Launch:
    """How many processes were started together, and by what.

    Attributes:
        by: "torchrun", "srun", or "" for nobody.
        devices: processes on this node; 0 where nobody says.
        nodes: machines.
        restarts: how often the launcher has started them anew after one of them had ended.
        may_restart: whether it would do so.
    """

    by: str = ""
    devices: int = 0
    nodes: int = 1
    restarts: int = 0
    may_restart: bool = False

    def shape(self, devices: int | str, nodes: int | None) -> tuple[int | str, int]:
        """Processes on this node and machines, as far as asked for, or as started.

        Raises:
            ValueError: if others were started than are asked for, or several machines without a launcher.
        """
        if not self.by:
            if (nodes or 1) > 1:
                raise ValueError(
                    f"--nodes {nodes} needs a launcher on each node: torchrun --nnodes {nodes} --nproc-per-node ..., "
                    "or srun in a SLURM job"
                )
            return devices, 1
        if devices not in ("auto", self.devices, str(self.devices)) or nodes not in (None, self.nodes):
            raise ValueError(
                f"{self.by} has started {self.devices} processes on each of {self.nodes} nodes, but --devices "
                f"{devices} and --nodes {self.nodes if nodes is None else nodes} are asked for; leave both out, or "
                f"start as many with {self.by}"
            )
        return self.devices, self.nodes


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Who started this process, by the environment variables of torchrun and SLURM.

    Raises:
        ValueError: if srun does not say how many processes each node has, or torchrun is to start those of several
            nodes anew and has not been told how they can meet again.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        nodes = int(environment["WORLD_SIZE"]) // devices
        may_restart = int(environment.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0
        if nodes > 1 and may_restart and environment.get(OWN_STORE) != "1":
            raise ValueError(
                "torchrun shares one store between all restarts, in which processes of several nodes would wait for "
                f"those that have ended (PyTorch's issue 135712); start it with {OWN_STORE}=1 in its environment"
            )
        restarts = int(environment.get("TORCHELASTIC_RESTART_COUNT", 0))
        return Launch("torchrun", devices, nodes, restarts, may_restart)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ALONE:
        processes = int(environment["SLURM_NTASKS"])
        if processes > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
            raise ValueError(
                f"SLURM has started {processes} processes and does not say how many a node; start them with "
                "srun --ntasks-per-node"
            )
        nodes = int(environment.get("SLURM_NNODES", 1))
        restarts = int(environment.get("SLURM_RESTART_COUNT", 0))
        return Launch("srun", processes // nodes, nodes, restarts)
    return Launch()


def meet_again(launch: Launch, on_gpu: bool, longest_wait: timedelta) -> None:
    """Bring the processes of one node together that torchrun has started anew, before Fabric would.

    They share torchrun's store with those before them, whose addresses are still there under the usual names.
    """
    if launch.by != "torchrun" or launch.nodes > 1 or not launch.restarts or distributed.is_initialized():
        return
    store, rank, processes = next(rendezvous("env://", timeout=longest_wait))
    own = PrefixStore(f"restart {launch.restarts}", store)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else None
    backend = "nccl" if on_gpu else "gloo"
    distributed.init_process_group(
        backend, store=own, rank=rank, world_size=processes, timeout=longest_wait, device_id=device
    )
