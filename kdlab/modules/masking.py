"""Masked batches, from which a student learns to predict when it sees only parts of an input."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from kdlab.explainers.players import Features, draw_coalitions, reveal
from kdlab.randomness import Stream


@runtime_checkable
class HasPlayers(Protocol):
    """An explainer that shows and hides parts of an input; ``assignment`` holds the number of each value's part."""

    assignment: Tensor


class Masks:
    """Replaces random parts of the inputs by the baseline in a share of the batches.

    The parts are the explainer's players if it has any, else single values. How many are shown follows the Shapley
    kernel, as in the regression that ``AmortisedShapley`` learns from. Jethani et al. 2022 (FastSHAP), section 3.2,
    train a surrogate of the model in this way; a student that itself sees masked batches needs no surrogate.

    Args:
        share: The share of the batches that are masked, in [0, 1].
        explainer: Its players are masked, if it has any.
        seed: Of the random stream, which nothing else draws from.

    Raises:
        ValueError: If the share is out of range.
    """

    def __init__(self, share: float, explainer: object, seed: int) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"masked_share must be in [0, 1], got {share}")
        self.share = share
        self._explainer = explainer
        self._stream = Stream(seed)

    def shown(self, inputs: Tensor, baseline: Tensor | None) -> Tensor | None:
        """Return the batch (batch, ...) with its hidden parts at the baseline, or None if the batch stays whole.

        Args:
            inputs: (batch, ...).
            baseline: the value of an absent feature, of one input's shape; None is zero.
        """
        with self._stream:
            if float(torch.rand(())) >= self.share:
                return None
            own = self._explainer.assignment if isinstance(self._explainer, HasPlayers) else None
            assignment = Features().assignment(inputs.shape[1:]) if own is None else own
            players = int(assignment.max()) + 1
            if players < 2:
                return None  # with one player there is nothing between showing all and showing nothing
            # Coalitions are drawn in pairs, so for an odd batch there is one too many.
            coalitions = draw_coalitions(len(inputs), players, inputs.device)[: len(inputs), None]
            absent = torch.zeros_like(inputs[0]) if baseline is None else baseline.to(inputs)
            return reveal(inputs, absent, coalitions, assignment.to(inputs.device))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random stream, for a checkpoint."""
        return dict(self._stream.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self._stream.load_state_dict(state)
