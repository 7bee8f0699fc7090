"""How far an explainer lags behind a student that is still changing."""

from collections.abc import Mapping

import torch
import torch.distributed
from torch import Tensor

from kdlab.losses.numerics import at_least_float32


class Lag:
    """The part of an explainer's error that comes from the student having moved since the last validation.

    On a fixed batch of n samples, let p be the student's distribution now, p' its distribution at the validation
    before, and q the explainer's present prediction of p:

        ``lag = sum (p - q) (p - p') / sqrt(n * sum (p - p')^2)``    sums over samples and classes

    This is the explainer's error p - q along the direction in which the student has moved. Its unit is probability, and
    lower is better. If the explainer still predicts p', the lag is the root mean square of the student's step. It is 0
    if the explainer has caught up, or if its error has nothing to do with the student's step, for example because it
    lacks capacity. It is negative if the explainer is ahead of the student. It is at most the root mean square of the
    whole error, which is the square root of L_c; the rest of the error is not lag. It is 0 if the student has not
    moved. If the explainer was never right, the value says little, because its error may point anywhere; read the first
    epochs with care.
    """

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._now: Tensor | None = None
        self._explainer: Tensor | None = None

    def see(self, logits: Tensor, explainer_logits: Tensor) -> None:
        """Note the outputs (samples, classes) of student and explainer; they must be of the same samples each time."""
        self._now, self._explainer = _distribution(logits), _distribution(explainer_logits)

    def step(self) -> dict[str, float]:
        """Return the lag by name, over all processes; an empty dictionary at the first validation."""
        now, before, explainer = self._now, self._before, self._explainer
        if now is None or explainer is None:
            return {}
        self._before, self._now, self._explainer = now, None, None
        if before is None:
            return {}
        moved = now - before
        sums = torch.stack(((now - explainer).mul(moved).sum(), moved.square().sum(), moved.new_tensor(len(moved))))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        along, square, count = sums.tolist()
        return {"lag": along / (count * square) ** 0.5 if square > 0 else 0.0}

    def state_dict(self) -> dict[str, Tensor | None]:
        """Return the student's distribution at the last validation, for a checkpoint."""
        return {"before": self._before}

    def load_state_dict(self, state: Mapping[str, Tensor | None], device: torch.device) -> None:
        """Continue from a ``state_dict``, with its tensor moved to a device."""
        before = state["before"]
        self._before = None if before is None else before.to(device)


def _distribution(logits: Tensor) -> Tensor:
    return at_least_float32(logits.detach()).softmax(dim=1).double()
