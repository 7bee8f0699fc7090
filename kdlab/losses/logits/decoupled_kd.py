"""Distillation of the target class apart from that of the others."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.logits.labels import known_or_predicted
from kdlab.losses.numerics import at_least_float32, check_alike


class DecoupledKD(nn.Module):
    """Divergences of the target's probability and of the other classes' shares, weighted apart: nats, minimum 0.

    ``target_weight * T^2 * KL(b_t || b_s) + others_weight * T^2 * KL(q_t || q_s)``, mean over the batch, lower is
    better, where b is (p_y, 1 - p_y) at temperature T and q the softmax over the classes other than y. Zhao et al.
    2022, equation 7, https://arxiv.org/abs/2203.08679. ``others_weight = 1 - p_y`` of the teacher would make it soft
    targets. An unlabelled sample's y is the teacher's prediction. Usual weight 1, warmed up over the first epochs.

    Args:
        target_weight: Weight of the first divergence (the paper's alpha), >= 0.
        others_weight: Weight of the second (beta), >= 0: 8 on CIFAR-100 where teacher and student are of like kind, 2
            or 6 for others, 0.5 with T = 1 on ImageNet.
        temperature: T, no unit, > 0.

    Raises:
        ValueError: If an argument is out of range, or, when called, if the shapes differ.
    """

    def __init__(self, target_weight: float = 1.0, others_weight: float = 8.0, temperature: float = 4.0) -> None:
        super().__init__()
        if target_weight < 0 or others_weight < 0:
            raise ValueError(f"weights must not be negative, got {target_weight} and {others_weight}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.target_weight = target_weight
        self.others_weight = others_weight
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from two tensors (batch, classes) and class numbers (batch,), -1 where unlabelled."""
        check_alike(logits=logits, teacher_logits=teacher_logits)
        classes = known_or_predicted(target, teacher_logits)
        student_pair, student_others = self.split(at_least_float32(logits), classes)
        teacher_pair, teacher_others = self.split(at_least_float32(teacher_logits), classes)
        on_target = F.kl_div(student_pair, teacher_pair, log_target=True, reduction="batchmean")
        on_others = F.kl_div(student_others, teacher_others, log_target=True, reduction="batchmean")
        return self.temperature**2 * (self.target_weight * on_target + self.others_weight * on_others)

    def split(self, logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of target or not (batch, 2), and among the others (batch, classes - 1)."""
        logits = logits / self.temperature
        rest = torch.arange(logits.shape[1] - 1, device=logits.device)
        others = logits.gather(1, rest + (rest >= classes[:, None]))
        # From the logits, as 1 - p rounds to zero once the target leads by a hundred
        pair = torch.cat([logits.gather(1, classes[:, None]), others.logsumexp(1, keepdim=True)], dim=1)
        return pair.log_softmax(1), others.log_softmax(1)
