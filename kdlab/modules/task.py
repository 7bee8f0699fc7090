"""Calling the task's loss, whether it is kdlab's or torch's own."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32
from kdlab.signals.vocabulary import Asked

#: torch's losses of logits and class numbers; they name the logits ``input`` and cannot handle unlabelled samples.
OF_LOGITS = (nn.CrossEntropyLoss, nn.MultiMarginLoss)


class Task:
    """A task loss that is called with the signals it asks for.

    torch's own losses of logits and class numbers (``CrossEntropyLoss``, for example with class weights, and
    ``MultiMarginLoss``) are called with the labelled samples only. If a batch has none, the value is a zero that is
    still attached to the graph.

    Args:
        loss: a loss whose ``forward`` names the signals it needs, or one of these two.
    """

    def __init__(self, loss: nn.Module) -> None:
        self._loss = loss
        self._ask = None if isinstance(loss, OF_LOGITS) else Asked(loss.forward)

    def __call__(self, signals: Mapping[str, Any]) -> Tensor:
        """Return L_p of a batch, a scalar."""
        if self._ask is not None:
            value: Tensor = self._ask(signals)
            return value
        logits, target = at_least_float32(signals["logits"]), signals["target"]
        labelled = target >= 0
        if not bool(labelled.any()):
            return logits.sum() * 0.0
        of_labelled: Tensor = self._loss(logits[labelled], target[labelled])
        return of_labelled
