"""Distillation between unlike architectures."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.logits.labels import known_or_predicted
from kdlab.losses.numerics import Features, as_list, at_least_float32, check_alike, through, total


class OneForAll(nn.Module):
    """Cross-entropy with the teacher's probabilities, in which the target class is enhanced: nats, lower is better.

    ``-sum_c [(p_t + 1_y)^g - 1_y]_c * log p_s,c``, mean over the batch, with p = softmax(logits / T) and 1_y one at
    the label; no T^2. Hao et al. 2023 (OFA-KD), adaptive target enhancement, https://arxiv.org/abs/2310.19444. At g =
    1 it is cross-entropy with the teacher, whose minimum is the teacher's entropy; above, the minimum is at the
    bracket, normalised. An unlabelled sample's y is the teacher's prediction. Usual weight 1.

    Args:
        enhancement: g, no unit, >= 1; 1 to 1.5 in the paper.
        temperature: T, no unit, > 0.

    Raises:
        ValueError: If an argument is out of range, or, when called, if the shapes differ.
    """

    def __init__(self, enhancement: float = 1.5, temperature: float = 1.0) -> None:
        super().__init__()
        if enhancement < 1:
            raise ValueError(f"enhancement must be at least 1, got {enhancement}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.enhancement = enhancement
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from two tensors (batch, classes) and class numbers (batch,), -1 where unlabelled."""
        check_alike(logits=logits, teacher_logits=teacher_logits)
        student = F.log_softmax(at_least_float32(logits) / self.temperature, dim=1)
        teacher = F.softmax(at_least_float32(teacher_logits) / self.temperature, dim=1)
        label = F.one_hot(known_or_predicted(target, teacher_logits), logits.shape[1])
        return -(((teacher + label) ** self.enhancement - label) * student).sum(1).mean()


class OneForAllExits(nn.Module):
    """``OneForAll`` at exits from the student's layers, each an own linear head: nats, lower is better.

    Each layer is averaged over its positions and mapped to logits by a head made for it; the losses are summed over
    the layers. Hao et al. 2023, whose heads are deeper. Heads are trained with the student and not
    exported.

    Args:
        enhancement: g, no unit, >= 1.
        temperature: T, no unit, > 0.

    Raises:
        ValueError: If an argument is out of range, or, when called, if the shapes differ.
        RuntimeError: When called before ``prepare``, or with other layers.
    """

    def __init__(self, enhancement: float = 1.5, temperature: float = 1.0) -> None:
        super().__init__()
        self.loss = OneForAll(enhancement, temperature)
        self.heads = nn.ModuleList()

    def prepare(self, features: Features, teacher_logits: Tensor) -> None:
        """Make a head for each layer (batch, channels, positions...)."""
        self.heads = nn.ModuleList(
            nn.Linear(layer.shape[1], teacher_logits.shape[1], device=layer.device, dtype=layer.dtype)
            for layer in as_list(features)
        )

    def forward(self, features: Features, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from layers (batch, channels, positions...), logits (batch, classes) and classes (batch,)."""
        layers = as_list(features)
        if len(layers) != len(self.heads):
            raise RuntimeError(f"{len(layers)} layers of features but {len(self.heads)} heads; call prepare first")
        exits = [layer.flatten(2).mean(2) if layer.ndim > 2 else layer for layer in layers]
        return total(
            [
                self.loss(through(head, exit_), teacher_logits, target)
                for head, exit_ in zip(self.heads, exits, strict=True)
            ]
        )
