"""A student with its teacher's derivatives."""

from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, check_alike, unit


class JacobianMatching(nn.Module):
    """Squared distance of the student's and the teacher's input gradients: lower is better, minimum 0.

    ``mean_b ||J_s - J_t||^2`` of the flattened gradients of one class's output with respect to the inputs, each
    divided by its Euclidean length if ``normalise``: then in [0, 4] and twice one minus the cosine. Srinivas &
    Fleuret 2018, https://arxiv.org/abs/1803.00443 (normalised); Czarnecki et al. 2017 (Sobolev training),
    https://arxiv.org/abs/1706.04859 (not). Give the term an input gradient as its explainer, of the logit rather than
    of the probability.

    Args:
        normalise: Whether directions alone are matched. Without, the unit is (logit / input)^2.

    Raises:
        ValueError: When called, if the shapes differ.
    """

    def __init__(self, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, attributions: Tensor, teacher_attributions: Tensor) -> Tensor:
        """Return a scalar from two tensors of the inputs' shape (batch, ...)."""
        check_alike(attributions=attributions, teacher_attributions=teacher_attributions)
        student = at_least_float32(attributions).flatten(1)
        teacher = at_least_float32(teacher_attributions).flatten(1)
        if self.normalise:
            student, teacher = unit(student), unit(teacher)
        return (student - teacher).square().sum(1).mean()
