"""Self-distillation: a teacher that is made of the student itself."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.teacher import Teacher


class EMA(Teacher):
    """The student's running average as its teacher: ``average = d * average + (1 - d) * student`` after each step.

    At optimiser step n, ``d = min(decay, 1 - 1 / (n + 1))``, so that the first steps are a plain mean and the untrained
    weights are soon forgotten. Buffers that are no floating point numbers are taken over. Tarvainen and Valpola 2017,
    section 2, https://arxiv.org/abs/1703.01780.

    Args:
        model: The student; the average starts as a copy of it.
        decay: d, no unit, in [0, 1).

    Raises:
        ValueError: If the decay is out of range.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        super().__init__(deepcopy(model))
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def follow(self, model: nn.Module, steps: int) -> None:
        """Move towards the student, which has taken so many optimiser steps; nothing if there was none since."""
        if steps <= self.steps:
            return
        self.steps = steps
        kept_share = min(self.decay, 1 - 1 / (steps + 1))
        # Of tied weights each is here once, where the state_dict would have them by every name.
        for kept, now in zip(_tensors(self.network), _tensors(model), strict=True):
            if kept.is_floating_point():
                kept.lerp_(now.detach(), 1 - kept_share)
            else:
                kept.copy_(now)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``."""
        self.steps = state["steps"]
        self.network.load_state_dict(state["network"])


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
