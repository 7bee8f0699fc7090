"""Robustness of an attribution: how far it moves when the input moves a little."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_positive
from kdlab.metrics.explaining import ExplainsAgain, draw_uniform, moves
from kdlab.metrics.numerics import rows


def relative_moves(
    attribute: ExplainsAgain,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    noise: Tensor,
    chunk: int | None = None,
) -> Tensor:
    """Return ``||a(x + n_j) - a(x)|| / ||a(x)||``: (batch, draws), NaN where the attribution is zero everywhere.

    Arguments as for ``kdlab.metrics.explaining.moves``.
    """
    length: Tensor = torch.linalg.vector_norm(rows(attributions), dim=1, keepdim=True)
    change = moves(attribute, inputs, attributions, explained, noise, chunk)
    return (change / length).masked_fill(length == 0, torch.nan)


class MaxSensitivity(PerSample):
    """Largest relative move of the attribution, ``max_j ||a(x + n_j) - a(x)|| / ||a(x)||``: >= 0, lower is better.

    The noise is uniform in [-radius, radius] for every feature, drawn once and shared by all samples; the class
    explained stays that of the clean input. NaN where a(x) is zero everywhere. Yeh et al. 2019, "max-sensitivity",
    https://arxiv.org/abs/1901.09392.

    Args:
        radius: Largest move of a feature, in the input's unit; 0.02 is meant for standardised inputs.
        draws: How many moves.
        seed: Of the draws.
        chunk: Rows explained at once; by default as many as the bytes that one makes allow.

    Raises:
        ValueError: If a number is not positive.
    """

    higher_is_better = False

    def __init__(self, radius: float = 0.02, draws: int = 10, seed: int = 0, chunk: int | None = None) -> None:
        super().__init__()
        check_positive(radius=radius, draws=draws, chunk=chunk)
        self.radius = radius
        self.draws = draws
        self.seed = seed
        self.chunk = chunk

    def noise(self, inputs: Tensor) -> Tensor:
        """Return the moves of an input: (draws, ...)."""
        return draw_uniform(self.draws, inputs.shape[1:], self.radius, self.seed, inputs)

    def update(self, inputs: Tensor, attributions: Tensor, explained: Tensor, attribute: ExplainsAgain) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), and what explains again.

        Raises:
            ValueError: If shapes do not fit.
        """
        noise = self.noise(inputs)
        self.add(relative_moves(attribute, inputs, attributions, explained, noise, self.chunk).amax(dim=1))


class AverageSensitivity(MaxSensitivity):
    """Mean relative move of the attribution, ``mean_j ||a(x + n_j) - a(x)|| / ||a(x)||``: >= 0, lower is better.

    Noise, arguments and NaN as for ``MaxSensitivity``; steadier from few draws.
    """

    def update(self, inputs: Tensor, attributions: Tensor, explained: Tensor, attribute: ExplainsAgain) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), and what explains again.

        Raises:
            ValueError: If shapes do not fit.
        """
        noise = self.noise(inputs)
        self.add(relative_moves(attribute, inputs, attributions, explained, noise, self.chunk).mean(dim=1))


def steepness(
    attribute: ExplainsAgain,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    noise: Tensor,
    chunk: int | None = None,
) -> Tensor:
    """Return ``max_j ||a(x + n_j) - a(x)|| / ||n_j||``: (batch,). Arguments as for ``explaining.moves``."""
    change = moves(attribute, inputs, attributions, explained, noise, chunk)
    distance: Tensor = torch.linalg.vector_norm(noise.flatten(noise.dim() - inputs.dim() + 1), dim=-1)
    return (change / distance).amax(dim=1)


class LocalLipschitz(MaxSensitivity):
    """Steepest change of the attribution nearby, ``max_j ||a(x + n_j) - a(x)|| / ||n_j||``: >= 0, lower is better.

    Attributions are not normalised: the number has their unit over the input's. Noise and arguments as for
    ``MaxSensitivity``. Alvarez-Melis and Jaakkola 2018, "local Lipschitz estimate", https://arxiv.org/abs/1806.08049.
    """

    def __init__(self, radius: float = 0.1, draws: int = 10, seed: int = 0, chunk: int | None = None) -> None:
        super().__init__(radius, draws, seed, chunk)

    def update(self, inputs: Tensor, attributions: Tensor, explained: Tensor, attribute: ExplainsAgain) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), and what explains again.

        Raises:
            ValueError: If shapes do not fit.
        """
        noise = self.noise(inputs)
        self.add(steepness(attribute, inputs, attributions, explained, noise, self.chunk))
