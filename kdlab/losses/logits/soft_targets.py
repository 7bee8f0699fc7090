"""Knowledge distillation as Hinton et al. introduced it."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, check_alike


class SoftTargets(nn.Module):
    """KL divergence from the teacher's softened distribution, times T^2: nats, lower is better, minimum 0.

    ``T^2 * KL(softmax(teacher_logits / T) || softmax(logits / T))``, summed over classes, mean over the batch. The
    factor keeps the gradient's size when T is searched. Hinton et al. 2015, section 2,
    https://arxiv.org/abs/1503.02531. Usual weight beside cross-entropy: 0.9 with T = 4 (and 0.1 on the
    cross-entropy).

    Args:
        temperature: T, no unit, > 0. At 1 the distributions are not softened.

    Raises:
        ValueError: If the temperature is not positive, or, when called, if the shapes differ.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        check_alike(logits=logits, teacher_logits=teacher_logits)
        student = F.log_softmax(at_least_float32(logits) / self.temperature, dim=1)
        teacher = F.log_softmax(at_least_float32(teacher_logits) / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(student, teacher, log_target=True, reduction="batchmean")
