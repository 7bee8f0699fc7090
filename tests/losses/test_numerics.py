import pytest
import torch
from torch import nn

from kdlab.losses.gather import gathered, own_rows, processes
from kdlab.losses.numerics import (
    at_least_float32,
    check_alike,
    correlation,
    full_precision,
    length,
    norm,
    paired,
    through,
    unit,
)


def test_half_precision_is_lifted_and_the_rest_left_alone() -> None:
    lifted = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64):
        assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == lifted.get(dtype, dtype)


def test_products_stay_single_under_autocast() -> None:
    matrix = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (matrix @ matrix).dtype == torch.bfloat16
        with full_precision(matrix):
            assert (matrix @ matrix).dtype == torch.float32


def test_unit_vectors_have_length_one_and_dead_ones_stay_zero() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-10, 4e-10]])
    torch.testing.assert_close(unit(vectors), torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]))
    torch.testing.assert_close(length(vectors).flatten(), torch.tensor([5.0, 1.0, 5e-10]))


@pytest.mark.parametrize("function", [unit, length, norm])
def test_the_gradient_at_zero_is_of_ordinary_size(function: object) -> None:
    zero = torch.zeros(2, 3, requires_grad=True)
    assert callable(function)
    (gradient,) = torch.autograd.grad(function(zero).sum(), zero)
    assert gradient.abs().max() <= 1


def test_correlation_is_pearsons_and_zero_with_a_constant() -> None:
    first, second = torch.randn(2, 3, 20).double()
    expected = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(first, second, strict=True)])
    torch.testing.assert_close(correlation(first, second, dim=1, epsilon=0.0), expected)
    assert correlation(torch.full((1, 7), 0.1), torch.randn(1, 7), dim=1).abs() < 1e-6


def test_correlation_takes_rounding_errors_for_no_variance() -> None:
    nearly = torch.full((1, 10), 1e4) * (1 + 6e-8 * torch.arange(10).remainder(2))
    assert correlation(nearly, nearly, dim=1).abs() < 1e-3


def test_a_module_is_fed_its_own_precision() -> None:
    output = through(nn.Linear(2, 2).bfloat16(), torch.ones(1, 2))
    assert output.dtype == torch.float32


def test_differences_are_named_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^a of shape \(2,\) and b of shape \(3,\) do not match$"):
        check_alike(a=torch.ones(2), b=torch.ones(3))
    with pytest.raises(ValueError, match=r"features of shape \(2, 3\) and teacher_features of shape \(4, 3\)"):
        paired([torch.ones(2, 3)], [torch.ones(4, 3)])


def test_one_process_gathers_nothing() -> None:
    tensor = torch.ones(3)
    assert processes() == 1
    assert gathered(tensor)[0] is tensor
    assert own_rows(3) == slice(0, 3)
