"""A student that is right for its teacher's reasons."""

from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, check_alike, unit


class ExplanationMatch(nn.Module):
    """One minus the cosine of the student's and the teacher's attributions: [0, 2], lower is better, minimum 0.

    ``mean_b(1 - cos(A_s, A_t))`` of the flattened attributions of one class, the teacher's, in both. Parchami-Araghi
    et al. 2024 (e2KD), https://arxiv.org/abs/2402.03119. A map that is zero everywhere, the student's or
    the teacher's, gives 1 and an ordinary gradient. Scale does not matter, so gradients, integrated gradients and
    Grad-CAM can all be matched. Usual weight: 1 to 10.

    Raises:
        ValueError: When called, if the shapes differ.
    """

    def forward(self, attributions: Tensor, teacher_attributions: Tensor) -> Tensor:
        """Return a scalar from two tensors of the inputs' shape (batch, ...)."""
        check_alike(attributions=attributions, teacher_attributions=teacher_attributions)
        student = unit(at_least_float32(attributions).flatten(1))
        teacher = unit(at_least_float32(teacher_attributions).flatten(1))
        return (1 - (student * teacher).sum(1)).mean()
