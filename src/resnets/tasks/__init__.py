"""What is asked of a network: one module a task, found by its name; the training loop knows none of them by name."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from torch import Tensor

from resnets.tasks.classification import Classification

Task = Classification
"""What the loop calls; a union as soon as there is a second task."""


def create_task(
    name: str, classes: tuple[str, ...], label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Task:
    """The task that a module of this package defines, for networks whose outputs are `classes`.

    Raises:
        ValueError: if there is no such module.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise ValueError(f"there is no task {name!r}; there is {', '.join(known)}")
    task: Task = import_module(f"{__name__}.{name}").TASK(classes, label_smoothing, class_weights)
    return task
