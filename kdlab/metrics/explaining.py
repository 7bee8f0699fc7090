"""Metrics that explain again: attributions of inputs that were moved a little."""

from typing import Protocol

import torch
from torch import Tensor

from kdlab.metrics.checks import check_attributions, check_same_shape
from kdlab.metrics.numerics import generator_of, rows
from kdlab.metrics.scorer import rows_per_chunk, tiles, undisturbed


class ExplainsAgain(Protocol):
    """Inputs (batch, ...) and the class explained (batch,) -> attributions of the inputs' shape.

    Attributes:
        multiplies_by_inputs: Whether they already hold the input's distance to the baseline (integrated gradients,
            gradient x input, Shapley values), or are slopes (gradient).
    """

    multiplies_by_inputs: bool

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Return the attributions."""
        ...


def draw_uniform(draws: int, shape: torch.Size, radius: float, seed: int, like: Tensor) -> Tensor:
    """Return noise uniform in [-radius, radius]: (draws, ...), on the device and of the type of ``like``."""
    _refuse_whole(like)
    noise = torch.rand(draws, *shape, generator=generator_of(seed), dtype=torch.float64)
    return ((2 * noise - 1) * radius).to(like)


def draw_normal(draws: int, shape: torch.Size, std: float, seed: int, like: Tensor) -> Tensor:
    """Return normal noise: (draws, ...), on the device and of the type of ``like``."""
    _refuse_whole(like)
    return (torch.randn(draws, *shape, generator=generator_of(seed), dtype=torch.float64) * std).to(like)


def _refuse_whole(inputs: Tensor) -> None:
    if not inputs.is_floating_point():
        raise TypeError(
            f"inputs of {inputs.dtype}, such as token numbers, cannot be moved by noise; leave out the metrics that"
            " move them: infidelity and sensitivity"
        )


def moves(
    attribute: ExplainsAgain,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    noise: Tensor,
    chunk: int | None = None,
) -> Tensor:
    """Return ``||a(x + n_j) - a(x)||_2`` over all features: (batch, draws).

    Args:
        attribute: a; asked for the class of the clean input, whatever is predicted after the noise.
        inputs: (batch, ...).
        attributions: a(x), the inputs' shape.
        explained: (batch,), the class explained.
        noise: (draws, ...) for all samples, or (batch, draws, ...) for each its own.
        chunk: Rows explained at once, by default by the bytes that one makes.

    Raises:
        ValueError: If shapes do not fit.
    """
    check_attributions(attributions, inputs)
    clean, before = inputs.detach(), rows(attributions)
    table = noise.unsqueeze(0) if noise.dim() == inputs.dim() else noise
    if table.shape[2:] != inputs.shape[1:] or table.shape[0] not in (1, inputs.shape[0]):
        raise ValueError(f"noise {tuple(noise.shape)} does not fit inputs {tuple(inputs.shape)}")
    batch, draws = inputs.shape[0], table.shape[1]
    if batch == 0:
        return before.new_zeros(0, draws)
    parts = []
    with undisturbed(attribute, inputs), torch.no_grad():
        size = chunk or rows_per_chunk(lambda row: attribute(row, explained[:1]), clean[:1])
        for samples, versions in tiles(batch, draws, size):
            own = table[:, versions] if table.shape[0] == 1 else table[samples, versions]
            moved = (clean[samples].unsqueeze(1) + own).flatten(0, 1)
            count = moved.shape[0] // (samples.stop - samples.start)
            again = attribute(moved, explained[samples].repeat_interleave(count))
            check_same_shape(attributions=again, inputs=moved)
            change = rows(again).reshape(-1, count, before.shape[1]) - before[samples].unsqueeze(1)
            parts.append(torch.linalg.vector_norm(change, dim=2).flatten())
    return torch.cat(parts).reshape(batch, draws)
