"""The optimiser's two groups of parameters, the student's and the explainer's."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer


def apart(parameters: Iterable[nn.Parameter], explainer: nn.Module, lr: float | None) -> list[dict[str, Any]]:
    """Return the parameters as groups, those of the explainer last and with a learning rate of their own if given.

    Empty groups are left out, as is what the explainer holds and does not train, such as an average of the student.
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
    """The optimiser as if it had this group alone."""
    groups = optimizer.param_groups
    optimizer.param_groups = [group]
    try:
        yield
    finally:
        optimizer.param_groups = groups
