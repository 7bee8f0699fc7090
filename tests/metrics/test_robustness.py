"""Metrics that explain again, or disturb the whole input."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.metrics.explaining import draw_normal, draw_uniform
from kdlab.metrics.infidelity import Infidelity, infidelity
from kdlab.metrics.parameter_randomisation import ParameterRandomisation, randomised, randomised_similarity
from kdlab.metrics.seed_stability import seed_stability
from kdlab.metrics.sensitivity import AverageSensitivity, LocalLipschitz, MaxSensitivity, relative_moves, steepness
from tests.metrics.cases import Gradient
from tests.metrics.linear import FIRST, ONES, WEIGHTS, ZERO, Slopes, of, weighted


class Double:
    """The gradient of ``sum x^2``."""

    multiplies_by_inputs = False

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        return 2 * inputs


INPUTS = torch.tensor([[3.0, 4.0]])
NOISE = torch.tensor([[0.5, 0.0], [0.0, 0.25]])


def test_sensitivity_by_hand() -> None:
    # a = (6, 8) of length 10; it moves by 1 and by 1/2.
    moved = relative_moves(Double(), INPUTS, 2 * INPUTS, FIRST, NOISE)
    torch.testing.assert_close(moved, torch.tensor([[0.1, 0.05]]))
    torch.testing.assert_close(steepness(Double(), INPUTS, 2 * INPUTS, FIRST, NOISE), torch.tensor([2.0]))


def test_sensitivity_of_the_classes_is_the_functions() -> None:
    noise = draw_uniform(10, torch.Size([2]), 0.02, 0, INPUTS)
    moved = relative_moves(Double(), INPUTS, 2 * INPUTS, FIRST, noise)
    for metric, value in ((MaxSensitivity(), moved.max()), (AverageSensitivity(), moved.mean())):
        metric.update(INPUTS, 2 * INPUTS, FIRST, Double())
        torch.testing.assert_close(metric.compute(), value)
    lipschitz = LocalLipschitz()
    lipschitz.update(INPUTS, 2 * INPUTS, FIRST, Double())
    torch.testing.assert_close(lipschitz.compute(), torch.tensor(2.0), rtol=1e-4, atol=0)


def test_constant_slopes_do_not_move() -> None:
    metric = MaxSensitivity()
    metric.update(ONES, WEIGHTS.unsqueeze(0), FIRST, Slopes())
    assert metric.compute() == 0.0


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise \(2, 3\) does not fit inputs \(1, 2\)"):
        relative_moves(Double(), INPUTS, INPUTS, FIRST, torch.zeros(2, 3))


def test_an_explainer_that_returns_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        MaxSensitivity().update(INPUTS, INPUTS, FIRST, lambda inputs, target: inputs[:, :1])  # type: ignore[arg-type]


def test_noise_stays_in_its_radius_and_has_its_spread() -> None:
    uniform, normal = (draw(4000, torch.Size([2]), 0.5, 0, INPUTS) for draw in (draw_uniform, draw_normal))
    assert uniform.abs().max() <= 0.5
    assert uniform.abs().max() > 0.49
    torch.testing.assert_close(normal.std(), torch.tensor(0.5), rtol=0.05, atol=0)


def test_infidelity_by_hand() -> None:
    # The disturbance (1, 2, 0) takes 1 + 4 = 5; slopes (1, 1, 1) foretell 3: (3 - 5)^2. Scaled by 5/3 they foretell 5.
    disturbance = torch.tensor([[1.0, 2.0, 0.0]])
    for normalised, value in ((False, 4.0), (True, 0.0)):
        found = infidelity(
            weighted(), ONES, ONES, FIRST, ZERO, disturbance, multiplies_by_inputs=False, normalised=normalised
        )
        torch.testing.assert_close(found, torch.tensor([value]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("multiplies", [False, True])
def test_infidelity_of_a_linear_models_own_attribution_is_zero_for_both_kinds(multiplies: bool) -> None:
    inputs, attribute = torch.randn(4, 3), Slopes(multiplies_by_inputs=multiplies)
    metric = Infidelity()
    metric.update(weighted(), inputs, attribute(inputs, FIRST), FIRST.expand(4), ZERO, multiplies)
    torch.testing.assert_close(metric.compute(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_infidelity_measures_the_distance_to_the_baseline() -> None:
    inputs, baseline = torch.randn(4, 3), torch.tensor([0.5, -1.0, 2.0])
    metric = Infidelity()
    metric.update(weighted(), inputs, (inputs - baseline) * WEIGHTS, FIRST.expand(4), baseline, True)
    torch.testing.assert_close(metric.compute(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_normalised_infidelity_ignores_the_size_of_the_attribution() -> None:
    inputs, model = torch.randn(4, 3), of(lambda rows: rows.square() @ WEIGHTS)
    values = []
    for size in (1.0, 100.0):
        metric = Infidelity(normalised=True)
        metric.update(model, inputs, size * inputs, FIRST.expand(4), ZERO, False)
        values.append(metric.compute())
    torch.testing.assert_close(values[0], values[1])


def test_infidelity_is_not_that_of_the_one_sample_close_to_the_baseline() -> None:
    inputs, model = torch.randn(9, 3), of(lambda rows: rows.square() @ WEIGHTS)
    inputs[0, 0] = 1e-4
    contributions = inputs.square() * WEIGHTS
    contributions[0, 0] = 0.01
    metric = Infidelity()
    metric.update(model, inputs, contributions, FIRST.expand(9), ZERO, True)
    assert metric.compute() == metric.latest.sort().values[4]
    assert metric.mean() > 10 * metric.compute()
    torch.testing.assert_close(metric.mean(), metric.latest.mean())


@pytest.mark.parametrize("arguments", [{"std": 0.0}, {"draws": 0}])
def test_infidelity_refuses_what_is_not_positive(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Infidelity(**arguments)


def test_an_explainer_that_ignores_the_model_survives_the_loss_of_its_weights() -> None:
    metric, inputs = ParameterRandomisation(), torch.randn(4, 3)
    attribute = Slopes(multiplies_by_inputs=True)
    metric.update(nn.Linear(3, 2), inputs, attribute(inputs, FIRST), FIRST.expand(4), attribute)
    torch.testing.assert_close(metric.compute(), torch.tensor(1.0))


def test_a_gradient_does_not() -> None:
    model = nn.Sequential(nn.Linear(30, 32), nn.Tanh(), nn.Linear(32, 2))
    inputs, attribute = torch.randn(16, 30), Gradient(model)
    found = randomised_similarity(model, attribute, inputs, attribute(inputs, FIRST.expand(16)), FIRST.expand(16))
    assert found.abs().mean() < 0.5


def test_randomised_weights_come_back_bit_for_bit_after_an_error() -> None:
    model = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    storage = model.weight.data_ptr()

    def fail() -> None:
        with torch.inference_mode(), randomised(model, ["weight"]):
            assert not torch.equal(model.weight, before["weight"])
            assert torch.equal(model.bias, before["bias"])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.weight.data_ptr() == storage
    model(torch.ones(1, 3)).sum().backward()  # still trains
    assert model.weight.grad is not None


def test_an_unknown_parameter_is_refused() -> None:
    message = r"no parameters \['head'\] in Linear; it has \['bias', 'weight'\]"
    with pytest.raises(ValueError, match=message), randomised(nn.Linear(3, 2), ["head"]):
        pass


def test_stability_over_seeds_by_hand() -> None:
    rising, falling = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    torch.testing.assert_close(seed_stability([rising, rising]), torch.tensor([1.0]))
    # Three pairs: 1, -1 and -1.
    torch.testing.assert_close(seed_stability([rising, rising, falling]), torch.tensor([-1 / 3]))


def test_stability_of_one_run_is_refused() -> None:
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        seed_stability([ONES])
