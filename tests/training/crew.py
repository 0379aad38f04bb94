"""Starts processes as torchrun or srun does, each a copy of this one, which has imported everything.

A line of JSON on standard input, the arguments of `start`, starts that many of `resnets ARGUMENTS`. The answers are a
line with their numbers, and when all have ended one with what each has printed and its status, negative after a signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import traceback

import torch
import torch.distributed.checkpoint.state_dict
import torch.distributed.fsdp

from resnets.cli.main import main


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def work(arguments: list[str], environment: dict[str, str], output: int) -> None:
    """Be one of the processes, from its first line to its end."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    status = 99
    try:
        status = main(arguments)
    except SystemExit as leave:
        status = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def variables_of(launcher: str, rank: int, processes: int) -> dict[str, object]:
    """What torchrun or srun tells a process of one node."""
    if launcher == "srun":
        tasks = {"SLURM_NTASKS": processes, "SLURM_NTASKS_PER_NODE": processes, "SLURM_NNODES": 1}
        return tasks | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": 0, "SLURM_JOB_NAME": "train"}
    started = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "crew"}
    return started | {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}


def start(processes: int, arguments: list[str], environment: dict[str, str], launcher: str) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(processes)]
        numbers = []
        for rank in range(processes):
            variables = variables_of(launcher, rank, processes) | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if not (number := os.fork()):
                work(arguments, {k: str(v) for k, v in variables.items()} | environment, outputs[rank].fileno())
            numbers.append(number)
        print(json.dumps(numbers), flush=True)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in numbers]
        for file in outputs:
            file.seek(0)
        print(json.dumps({"statuses": statuses, "outputs": [file.read().decode() for file in outputs]}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        start(**json.loads(line))
