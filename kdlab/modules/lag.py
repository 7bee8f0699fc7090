"""How far an explainer is behind a student that moves."""

from collections.abc import Mapping

import torch
import torch.distributed
from torch import Tensor

from kdlab.losses.numerics import at_least_float32


class Lag:
    """The part of an explainer's error that comes from the student's having moved.

    On a fixed batch, with p the student's distribution now, p' its distribution at the validation before, and q the
    explainer's prediction of it now, n samples:

        ``lag = sum (p - q) (p - p') / sqrt(n * sum (p - p')^2)``    sums over samples and classes

    which is the explainer's error p - q along the way that the student has gone since. In probability, lower is
    better. An explainer that stands still at p' lags by the root mean square of the student's step; one that has
    caught up by 0, as has one whose error is the same for both students, for want of capacity say; below 0 it is
    beyond. It is at most the root mean square of the whole error, the root of L_c: what remains of that is no lag.
    0 for a student that stands still, which nobody can be behind. An explainer that was never right is behind nobody
    either: its error may point anywhere, so read the first epochs with care.
    """

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._now: Tensor | None = None
        self._explainer: Tensor | None = None

    def see(self, logits: Tensor, explainer_logits: Tensor) -> None:
        """Take the student's outputs and the explainer's (samples, classes), of the same samples each time."""
        self._now, self._explainer = _distribution(logits), _distribution(explainer_logits)

    def step(self) -> dict[str, float]:
        """Return the lag by its name, over all processes; nothing at the first validation, which has none before it."""
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
        """The student at the last validation, for a checkpoint."""
        return {"before": self._before}

    def load_state_dict(self, state: Mapping[str, Tensor | None], device: torch.device) -> None:
        """Go on from there."""
        before = state["before"]
        self._before = None if before is None else before.to(device)


def _distribution(logits: Tensor) -> Tensor:
    return at_least_float32(logits.detach()).softmax(dim=1).double()
