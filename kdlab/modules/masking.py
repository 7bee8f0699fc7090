"""Masked batches, on which a student learns to predict from parts of an input."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from kdlab.explainers.players import Features, draw_coalitions, reveal
from kdlab.randomness import Stream


@runtime_checkable
class HasPlayers(Protocol):
    """An explainer that shows and hides parts of an input together: ``assignment`` has the part of each value."""

    assignment: Tensor


class Masks:
    """Shows a share of the batches with random parts at the baseline.

    Parts are the explainer's players, else single values; how many are shown follows the Shapley kernel, as in the
    regression that ``AmortisedShapley`` learns from. Jethani et al. 2022 (FastSHAP), section 3.2, train a surrogate of
    the model in this way; a student that sees masked batches itself needs none.

    Args:
        share: Of the batches that are masked, in [0, 1].
        explainer: Whose players are masked, where it has any.
        seed: Of the random stream, which is the masks' own.

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
        """Return the batch (batch, ...) with parts at the baseline, zero without one; None where it stays whole."""
        with self._stream:
            if float(torch.rand(())) >= self.share:
                return None
            own = self._explainer.assignment if isinstance(self._explainer, HasPlayers) else None
            assignment = Features().assignment(inputs.shape[1:]) if own is None else own
            players = int(assignment.max()) + 1
            if players < 2:
                return None  # between all and nothing there is no part
            coalitions = draw_coalitions(len(inputs), players, inputs.device)[: len(inputs), None]
            absent = torch.zeros_like(inputs[0]) if baseline is None else baseline.to(inputs)
            return reveal(inputs, absent, coalitions, assignment.to(inputs.device))

    def state_dict(self) -> dict[str, Any]:
        """The stream's place, for a checkpoint."""
        return dict(self._stream.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._stream.load_state_dict(state)
