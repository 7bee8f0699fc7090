"""Deep layers of the student reviewed against all shallower ones of the teacher."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import Features, at_least_float32, check_alike, paired, parameter_dtype, total


class HierarchicalContext(nn.Module):
    """Mean squared difference of maps and of their pooled versions: lower is better, minimum 0.

    ``(mse(F_s, F_t) + sum_k 2^-k mse(pool_k F_s, pool_k F_t)) / (1 + sum_k 2^-k)``, summed over the layer pairs,
    where pool_k averages to 4 x 4, 2 x 2 and 1 x 1 (k = 1, 2, 3 as far as smaller than the map's height). Chen et al.
    2021 (ReviewKD), hierarchical context loss, https://arxiv.org/abs/2104.09044.

    Raises:
        ValueError: When called, if the shapes differ or are not (batch, channels, height, width).
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, height, width)."""
        return total([self.pyramid(student, teacher) for student, teacher in paired(features, teacher_features)])

    def pyramid(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the value of one pair of layers."""
        check_alike(features=student, teacher_features=teacher)
        if student.ndim != 4:
            raise ValueError(f"features of shape {tuple(student.shape)} are not (batch, channels, height, width)")
        value = F.mse_loss(student, teacher)
        weight, weights = 1.0, 1.0
        for size in (4, 2, 1):
            if size < student.shape[2]:
                weight /= 2
                weights += weight
                ours, theirs = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
                value = value + weight * F.mse_loss(ours, theirs)
        return value / weights


class AttentionFusion(nn.Module):
    """Mixes a student's layer with the review of the deeper ones, by weights that depend on the position.

    Args:
        channels: The student layer's.
        width: Channels of the review.
        teacher_channels: Channels of the output.
        deepest: Whether there is no deeper review to mix in.
    """

    def __init__(self, channels: int, width: int, teacher_channels: int, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.leave = nn.Sequential(
            nn.Conv2d(width, teacher_channels, 3, padding=1, bias=False), nn.BatchNorm2d(teacher_channels)
        )
        self.weigh: nn.Module | None = None if deepest else nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid())

    def forward(self, layer: Tensor, review: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the review for the next shallower layer and this one's map, of the teacher's shape."""
        mixed = self.enter(layer)
        if self.weigh is not None and review is not None:
            review = F.interpolate(review, mixed.shape[2:], mode="nearest")
            weights = self.weigh(torch.cat([mixed, review], dim=1))
            mixed = mixed * weights[:, :1] + review * weights[:, 1:]
        if mixed.shape[2:] != size:
            mixed = F.interpolate(mixed, size, mode="nearest")
        return mixed, self.leave(mixed)


class ReviewKD(nn.Module):
    """Hierarchical context between the teacher's layers and the student's fused from the deepest up: minimum 0.

    From the deepest layer to the shallowest, the student's layer is mixed with the review of the deeper ones and
    compared with the teacher's by ``HierarchicalContext``; summed over the layers, lower is better. Chen et al. 2021,
    the residual review with attention-based fusion, https://arxiv.org/abs/2104.09044. Name the layers from shallow to
    deep. The fusion modules are made by ``prepare``, trained with the student and not exported. Usual weight: 0.6 to
    8, warmed up over 20 epochs.

    Args:
        width: Channels of the review, at most; it has no more than the widest student layer. > 0.

    Raises:
        ValueError: If width is not positive, or, when called in training, for a batch of one with maps of one
        position. RuntimeError: When called before ``prepare``, or with other layers.
    """

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be positive, got {width}")
        self.width = width
        self.context = HierarchicalContext()
        self.fusions = nn.ModuleList()

    def prepare(self, features: Features, teacher_features: Features) -> None:
        """Make the fusion of each pair of layers (batch, channels, height, width)."""
        pairs = paired(features, teacher_features)
        width = min(self.width, max(student.shape[1] for student, _ in pairs))
        self.fusions = nn.ModuleList(
            AttentionFusion(student.shape[1], width, teacher.shape[1], deepest=level == len(pairs) - 1).to(
                student.device, student.dtype
            )
            for level, (student, teacher) in enumerate(pairs)
        )

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, height, width), shallow to deep."""
        pairs = paired(features, teacher_features)
        if len(pairs) != len(self.fusions):
            raise RuntimeError(f"{len(pairs)} layers, but prepared for {len(self.fusions)}; call prepare first")
        review: Tensor | None = None
        values = []
        for fusion, (student, teacher) in reversed(list(zip(self.fusions, pairs, strict=True))):
            review, mapped = fusion(student.to(parameter_dtype(fusion)), review, teacher.shape[2:])
            values.append(self.context([at_least_float32(mapped)], [teacher]))
        return total(values)
