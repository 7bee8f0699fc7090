"""Models whose scores can be worked out by hand."""

from collections.abc import Callable

import torch
from torch import Tensor

WEIGHTS = torch.tensor([1.0, 2.0, 3.0])
ONES = torch.ones(1, 3)
ZERO = torch.zeros(3)
FIRST = torch.tensor([0])


def of(score: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a model of two classes whose first logit is the score of the rows, the second 0."""
    return lambda inputs: torch.stack([score(inputs.flatten(1)), torch.zeros(len(inputs))], dim=1)


def weighted(weights: Tensor = WEIGHTS) -> Callable[[Tensor], Tensor]:
    """Return the linear model ``(x.w, 0)``."""
    return of(lambda rows: rows @ weights)


class Slopes:
    """The same slopes everywhere, or times the input."""

    def __init__(self, weights: Tensor = WEIGHTS, multiplies_by_inputs: bool = False) -> None:
        self.weights = weights
        self.multiplies_by_inputs = multiplies_by_inputs

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        return inputs * self.weights if self.multiplies_by_inputs else self.weights.expand_as(inputs)
