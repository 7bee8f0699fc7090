"""The class that a loss on labels uses where there is no label."""

import torch
from torch import Tensor


def known_or_predicted(target: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the label (batch,), or the teacher's prediction where the target is negative."""
    return torch.where(target >= 0, target, teacher_logits.argmax(1))
