"""Self-distillation: the teacher is made from the student itself."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.teacher import Teacher


class EMA(Teacher):
    """The student's running average as its teacher: ``average = d * average + (1 - d) * student`` after each step.

    At optimiser step n, ``d = min(decay, 1 - 1 / (n + 1))``. The average is therefore a plain mean over the first
    steps, and the untrained weights soon have no influence. Buffers that hold no floating point numbers are copied.
    Tarvainen and Valpola 2017, section 2, https://arxiv.org/abs/1703.01780.

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
        """Update the average from the student; nothing happens if the student made no step since the last call.

        Args:
            model: The student.
            steps: How many optimiser steps it has made so far.
        """
        # With accumulated gradients, several batches come before one optimiser step.
        if steps <= self.steps:
            return
        self.steps = steps
        kept_share = min(self.decay, 1 - 1 / (steps + 1))
        # Not the state_dict: it lists tied weights once for each name, and they would move twice.
        for kept, now in zip(_tensors(self.network), _tensors(model), strict=True):
            if kept.is_floating_point():
                kept.lerp_(now.detach(), 1 - kept_share)
            else:
                kept.copy_(now)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the averaged weights, for a checkpoint."""
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self.steps = state["steps"]
        self.network.load_state_dict(state["network"])


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
