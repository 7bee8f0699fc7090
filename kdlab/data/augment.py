"""Random augmentation of training batches, drawn from a generator that the loader hands over."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Augmentation(Protocol):
    """Anything called with a batch and a generator that returns the changed batch.

    It returns a new dict, changes no tensor in place, and draws from the generator only: the loader addresses it by
    (seed, epoch, batch number, rank), so that a resumed epoch sees the same views.
    """

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return the changed batch."""
        ...


class ShiftFlip:
    """Moves each image by whole pixels, and optionally mirrors it; a ``mask`` of the images' size moves along.

    Images ``(batch, channels, height, width)``. The edge pixels are repeated into the gap, for after standardisation
    zero is not the background.

    Args:
        shift: Largest move, in pixels, in each direction, >= 0; the moves are uniform over ``-shift .. shift``.
        flip: Whether half of the images are mirrored left to right.

    Raises:
        ValueError: If the shift is negative, or inputs are not images.
    """

    def __init__(self, shift: int = 1, flip: bool = False) -> None:
        if shift < 0:
            raise ValueError(f"shift must be 0 or more pixels, got {shift}")
        self.shift = shift
        self.flip = flip

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return the batch with moved images (and mask)."""
        inputs = batch["inputs"]
        if inputs.ndim != 4:
            raise ValueError(f"ShiftFlip needs images (batch, channels, height, width), got {tuple(inputs.shape)}")
        count = len(inputs)
        moves = torch.randint(-self.shift, self.shift + 1, (2, count), generator=generator)
        mirrored = (torch.rand(count, generator=generator) < 0.5) & self.flip
        result = dict(batch, inputs=self._moved(inputs, moves, mirrored, "replicate"))
        if "mask" in batch:
            mask = batch["mask"]
            if mask.shape[-2:] != inputs.shape[-2:]:
                raise ValueError(f"mask {tuple(mask.shape)} has another size than the images {tuple(inputs.shape)}")
            planes = mask.reshape(count, -1, *mask.shape[-2:]).to(inputs.dtype)
            result["mask"] = self._moved(planes, moves, mirrored, "constant").reshape(mask.shape).to(mask.dtype)
        return result

    def _moved(self, images: Tensor, moves: Tensor, mirrored: Tensor, padding: str) -> Tensor:
        count, _, height, width = images.shape
        padded = F.pad(images, [self.shift] * 4, mode=padding)
        columns = torch.arange(width).expand(count, width)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        rows = torch.arange(height) + self.shift + moves[0][:, None]
        columns = columns + self.shift + moves[1][:, None]
        samples = torch.arange(count)
        # Index tensors on both sides of a slice put the sliced dimension last.
        moved = padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return moved.permute(0, 3, 1, 2).contiguous()


class Noise:
    """Adds independent normal noise to every input value: for tables and series.

    Args:
        std: Standard deviation, in units of the (standardised) inputs, >= 0.

    Raises:
        ValueError: If std is negative.
    """

    def __init__(self, std: float = 0.1) -> None:
        if std < 0:
            raise ValueError(f"std must be 0 or more, got {std}")
        self.std = std

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return the batch with noisy inputs."""
        inputs = batch["inputs"]
        noise = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)
        return dict(batch, inputs=inputs + self.std * noise)
