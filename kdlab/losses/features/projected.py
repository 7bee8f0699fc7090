"""The student's layers brought to the teacher's channels."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import Features, check_alike, paired, through


class Projector(nn.Linear):
    """A 1 x 1 convolution: a linear map of the channels at each position, for any number of axes.

    Args:
        channels: The student's.
        teacher_channels: The teacher's.
        axis: Which axis holds them.
        bias: Whether a constant is added.
    """

    def __init__(self, channels: int, teacher_channels: int, axis: int = 1, bias: bool = False) -> None:
        super().__init__(channels, teacher_channels, bias=bias)
        self.axis = axis

    def forward(self, layer: Tensor) -> Tensor:
        """Return (batch, teacher channels, positions...) from (batch, channels, positions...)."""
        return F.linear(layer.movedim(self.axis, -1), self.weight, self.bias).movedim(-1, self.axis)


class Projected(nn.Module):
    """A loss between layers whose channels may differ, in which case ``prepare`` makes a projector for the student's.

    Args:
        axis: Which axis holds the channels.
    """

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.projectors = nn.ModuleList()

    def prepare(self, features: Features, teacher_features: Features) -> None:
        """Make a projector for each pair of layers with different channels; equal ones are compared as they are."""
        self.projectors = nn.ModuleList(
            nn.Identity()
            if ours.shape[self.axis] == theirs.shape[self.axis]
            else Projector(ours.shape[self.axis], theirs.shape[self.axis], self.axis).to(ours.device, ours.dtype)
            for ours, theirs in paired(features, teacher_features)
        )

    def projected(self, features: Features, teacher_features: Features) -> list[tuple[Tensor, Tensor]]:
        """Return pairs with the same channels.

        Raises:
            ValueError: If the batches, the numbers of layers or, without a projector, the channels differ.
        """
        pairs = paired(features, teacher_features)
        if not self.projectors:
            return pairs
        if len(self.projectors) != len(pairs):
            raise ValueError(f"{len(pairs)} layers of features, but prepared for {len(self.projectors)}")
        return [
            (through(projector, ours) if isinstance(projector, Projector) else ours, theirs)
            for projector, (ours, theirs) in zip(self.projectors, pairs, strict=True)
        ]

    def matching(self, features: Features, teacher_features: Features) -> list[tuple[Tensor, Tensor]]:
        """Return pairs of the same shape, with ``projected``'s errors."""
        pairs = self.projected(features, teacher_features)
        for ours, theirs in pairs:
            check_alike(features=ours, teacher_features=theirs)
        return pairs
