"""The checks of ``kdlab.testing.losses`` find what is wrong with a loss."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.testing.losses import (
    check_finite,
    check_gradient_reaches,
    check_invariant,
    check_leaves_signals,
    check_pulls_towards_teacher,
    check_refuses,
    check_scalar,
    check_zero_at_equality,
)


class Wrong(nn.Module):
    """A loss given as a function."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return self.function(logits, teacher_logits)


def in_place(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    teacher_logits.zero_()
    return F.mse_loss(logits, teacher_logits)


def standardised(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    return F.mse_loss(logits / logits.std(1, keepdim=True), teacher_logits)


MISTAKES: list[tuple[Callable[[nn.Module], None], Callable[[Tensor, Tensor], Tensor], str]] = [
    (check_scalar, lambda s, t: (s - t).square().mean(1), "the value has shape"),
    (check_scalar, lambda s, t: F.mse_loss(s, t), "not torch.float32"),
    (check_zero_at_equality, lambda s, t: F.mse_loss(s, t) + 1, "a perfect student costs 1.0, not 0.0"),
    (check_zero_at_equality, lambda s, t: 0 * F.mse_loss(s, t), "another student costs 0.0"),
    (lambda loss: check_gradient_reaches(loss, "logits"), lambda s, t: t.mean() + 0 * s.sum(), "is zero"),
    (check_pulls_towards_teacher, lambda s, t: -F.mse_loss(s, t), "the loss grows by"),
    (lambda loss: check_invariant(loss, logits=lambda x: x + 1), F.mse_loss, "the value changes from"),
    (lambda loss: check_refuses(loss, logits=lambda x: x[:, :1]), lambda s, t: (s - t).sum(), "that do not fit"),
    (check_leaves_signals, in_place, "teacher_logits is changed"),
    (check_finite, standardised, "constant student, batch of 1: the value is"),
    (check_finite, lambda s, t: (F.normalize(s) - t).square().mean(), "the gradient of logits is as large as"),
]


@pytest.mark.parametrize(("check", "function", "found"), MISTAKES)
def test_a_mistake_is_found(
    check: Callable[[nn.Module], None], function: Callable[[Tensor, Tensor], Tensor], found: str
) -> None:
    with pytest.raises(AssertionError, match=found):
        check(Wrong(function))


def test_a_signal_that_nobody_makes_is_to_be_given() -> None:
    class Own(nn.Module):
        def forward(self, logits: Tensor, ages: Tensor) -> Tensor:
            return (logits.mean(1) - ages).square().mean()

    with pytest.raises(AssertionError, match=r"Own asks for \['ages'\]; give them to the check by name"):
        check_scalar(Own())
    check_gradient_reaches(Own(), "logits", ages=torch.ones(4))
