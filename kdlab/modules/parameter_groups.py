"""The optimiser's two groups of parameters, the student's and the explainer's."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer


def apart(parameters: Iterable[nn.Parameter], explainer: nn.Module, lr: float | None) -> list[dict[str, Any]]:
    """Return the parameters as groups, the explainer's last and, if ``lr`` is given, with that learning rate.

    Empty groups are left out. So are parameters that the explainer holds but does not train, such as an average of the
    student.
    """
    of_explainer = {id(parameter) for parameter in explainer.parameters()}
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in parameters:
        groups[id(parameter) in of_explainer].append(parameter)
    own_rate = {} if lr is None else {"lr": lr}
    student, learned = {"params": groups[0]}, {"params": groups[1], **own_rate}
    return [group for group in (student, learned) if group["params"]]


@contextmanager
def only(optimizer: Optimizer, group: dict[str, Any]) -> Iterator[None]:
    """Let the optimiser have this one group only while the block runs."""
    groups = optimizer.param_groups
    optimizer.param_groups = [group]
    try:
        yield
    finally:
        optimizer.param_groups = groups
