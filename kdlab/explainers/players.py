"""Who plays in a Shapley game: which input values are shown or hidden together.

A class of players assigns each value of one input to a player; kdlab's own and a user's are any object with
``assignment(shape)``.
"""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor


class Players(Protocol):
    """Assigns each value of one input to a player."""

    def assignment(self, shape: Sequence[int]) -> Tensor:
        """Return the player's number, 0 to players - 1, of each value of one input, int64 in the input's shape."""
        ...


class Features:
    """Every value is a player."""

    def assignment(self, shape: Sequence[int]) -> Tensor:
        """Return 0, 1, 2 and so on."""
        return torch.arange(prod(shape)).reshape(*shape)


class Groups:
    """Values that stand for one thing play together, as the columns of one category do.

    Args:
        groups: The player's number of each value of the flattened input; all numbers from 0 to the largest are used.
            An experiment on a table may leave it out: the values of one column are a player.

    Raises:
        ValueError: If a number is missing.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        if sorted(set(groups)) != list(range(len(set(groups)))):
            raise ValueError(f"groups must be numbered from 0 without gaps, got {sorted(set(groups))}")
        self.groups = list(groups)

    def assignment(self, shape: Sequence[int]) -> Tensor:
        """Return the groups in the input's shape.

        Raises:
            ValueError: If the input has another number of values.
        """
        if prod(shape) != len(self.groups):
            raise ValueError(
                f"{len(self.groups)} values have a group, an input of shape {tuple(shape)} has {prod(shape)}"
            )
        return torch.tensor(self.groups).reshape(*shape)


class Superpixels:
    """Squares of an image (channels, height, width), all channels together; the last ones may be cut off.

    Args:
        size: Pixels along a square's side, >= 1.

    Raises:
        ValueError: If the size is not positive.
    """

    def __init__(self, size: int = 4) -> None:
        if size < 1:
            raise ValueError(f"size must be positive, got {size}")
        self.size = size

    def assignment(self, shape: Sequence[int]) -> Tensor:
        """Return squares numbered along the rows.

        Raises:
            ValueError: If the input is no image.
        """
        if len(shape) != 3:
            raise ValueError(f"superpixels need images (channels, height, width), got {tuple(shape)}")
        rows, columns = torch.arange(shape[1]) // self.size, torch.arange(shape[2]) // self.size
        squares = rows[:, None] * (int(columns[-1]) + 1) + columns
        return squares.expand(*shape).clone()


class Segments:
    """Stretches of a sequence, all its channels together; with length 1 time steps, tokens.

    Args:
        length: Steps in a stretch, >= 1.
        time_axis: Axis of time in one input: 0 for (steps, channels), 1 for (channels, steps).

    Raises:
        ValueError: If the length is not positive.
    """

    def __init__(self, length: int = 1, time_axis: int = 0) -> None:
        if length < 1:
            raise ValueError(f"length must be positive, got {length}")
        self.length = length
        self.time_axis = time_axis

    def assignment(self, shape: Sequence[int]) -> Tensor:
        """Return stretches numbered along time.

        Raises:
            ValueError: If the input has no such axis.
        """
        if not 0 <= self.time_axis < len(shape):
            raise ValueError(f"an input of shape {tuple(shape)} has no axis {self.time_axis}")
        steps = torch.arange(shape[self.time_axis]) // self.length
        across = [1] * len(shape)
        across[self.time_axis] = -1
        return steps.reshape(across).expand(*shape).clone()


def reveal(inputs: Tensor, baseline: Tensor, coalitions: Tensor, assignment: Tensor) -> Tensor:
    """Return inputs with only the players of a coalition shown, the others at the baseline.

    Args:
        inputs: (batch, ...).
        baseline: Shape of one input, or broadcastable to it.
        coalitions: (draws, players) shared by the batch, or (batch, draws, players); bool or numbers, where a number
            between 0 and 1 mixes.
        assignment: Player of each value, in the shape of one input.

    Returns:
        (batch * draws, ...), the draws of a sample beside each other.
    """
    shown = coalitions[..., assignment.flatten()].reshape(*coalitions.shape[:-1], *assignment.shape).to(inputs.dtype)
    if coalitions.dim() == 2:
        shown = shown[None]
    return (baseline + shown * (inputs - baseline)[:, None]).flatten(0, 1)


def spread(values: Tensor, assignment: Tensor) -> Tensor:
    """Return each player's value (batch, players) shared out equally over its members (batch, ...), the sum kept."""
    flat = assignment.flatten()
    members = values.new_zeros(values.shape[1]).index_add(0, flat, values.new_ones(len(flat)))
    return (values / members).index_select(1, flat).reshape(-1, *assignment.shape)


def kernel_sizes(players: int) -> Tensor:
    """Return the Shapley kernel's probability (players - 1,) of a coalition of 1, 2, … players - 1 members.

    ``p(k)`` is proportional to ``1 / (k (d - k))``: Charnes et al. 1988's weight times the number of coalitions of
    size k.
    """
    sizes = torch.arange(1, players, dtype=torch.float64)
    law = 1 / (sizes * (players - sizes))
    return law / law.sum()


def draw_coalitions(count: int, players: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Draw coalitions (count, players), bool, from the Shapley kernel.

    Sizes follow its law, members are uniform given the size. Every second one is the complement of the one before
    (count is rounded up to even), which halves the variance and more.
    """
    law = kernel_sizes(players).to(device)
    half = (count + 1) // 2
    sizes = 1 + torch.multinomial(law, half, replacement=True, generator=generator)
    # The first k of a random order are a uniform subset of size k.
    order = torch.rand(half, players, device=device, generator=generator).argsort(dim=1).argsort(dim=1)
    drawn = order < sizes[:, None]
    return torch.stack([drawn, ~drawn], dim=1).flatten(0, 1)
