"""How far an explainer is behind its student."""

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.modules.joint import Joint
from kdlab.modules.lag import Lag
from tests.modules.fitting import fit, student, teacher


def lag_of(before: Tensor, now: Tensor, explainer: Tensor) -> float:
    """From distributions, at the second of two validations."""
    lag = Lag()
    lag.see(before.log(), before.log())
    assert lag.step() == {}
    lag.see(now.log(), explainer.log())
    return lag.step()["lag"]


BEFORE, NOW = torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([[0.8, 0.2], [0.4, 0.6]])


def test_by_hand() -> None:
    # The student went by (0.3, -0.3) and (-0.1, 0.1). The explainer went halfway: p - q is half of that, and
    # lag = (2 * 0.15 * 0.3 + 2 * 0.05 * 0.1) / sqrt(2 * 0.2) = 0.1 / 0.6325.
    assert lag_of(BEFORE, NOW, (BEFORE + NOW) / 2) == pytest.approx(0.1 / math.sqrt(0.4))


def test_an_explainer_that_stands_still_lags_by_the_students_step() -> None:
    assert lag_of(BEFORE, NOW, BEFORE) == pytest.approx(math.sqrt(0.2 / 2))


def test_one_that_has_caught_up_does_not_lag_and_one_beyond_is_below_zero() -> None:
    assert lag_of(BEFORE, NOW, NOW) == pytest.approx(0.0, abs=1e-7)
    assert lag_of(BEFORE, NOW, NOW + 0.5 * (NOW - BEFORE)) < -0.1


def test_the_step_is_that_since_the_validation_before_and_not_since_the_first() -> None:
    far, lag = torch.tensor([[0.1, 0.9], [0.9, 0.1]]), Lag()
    for where in (far, BEFORE, NOW):
        lag.see(where.log(), BEFORE.log())
        found = lag.step()
    # As if it had begun at the second: the explainer stands at p' and lags by the step from there.
    assert found["lag"] == pytest.approx(math.sqrt(0.2 / 2))


def test_an_error_that_has_nothing_to_do_with_the_step_is_no_lag() -> None:
    before = torch.tensor([[0.4, 0.3, 0.3]])
    now, explainer = torch.tensor([[0.4, 0.4, 0.2]]), torch.tensor([[0.6, 0.3, 0.1]])
    # (p - q) (p - p') = -0.2 * 0 + 0.1 * 0.1 + 0.1 * -0.1
    assert lag_of(before, now, explainer) == pytest.approx(0.0, abs=1e-7)


def test_nobody_lags_behind_a_student_that_stands_still() -> None:
    assert lag_of(NOW, NOW, BEFORE) == 0.0


def test_it_is_at_most_the_whole_error() -> None:
    before, now, explainer = torch.randn(3, 16, 5).softmax(dim=2)
    error = float((now - explainer).square().sum(dim=1).mean().sqrt())
    assert 0 < lag_of(before, now, explainer) <= error


def joint(**arguments: object) -> Joint:
    return Joint(student(), lambda model: NeuralSurrogate(model, 64, 3), teacher(), **arguments)  # type: ignore[arg-type]


def test_a_joint_stage_logs_it_from_the_second_validation_on() -> None:
    assert "val/explainer/lag" not in fit(joint(), epochs=1).callback_metrics
    assert "val/explainer/lag" in fit(joint(), epochs=2).callback_metrics
    assert "val/explainer/lag" not in fit(joint(explain_weight=0.0), epochs=2).callback_metrics


class Repeats(NeuralSurrogate):
    """Says what a network says: the student itself, or the student as it was."""

    def __init__(self, model: nn.Module, network: nn.Module) -> None:
        super().__init__(model, 64, 3)
        self.said_by = (network,)

    def forward(self, inputs: Tensor) -> Tensor:
        (network,) = self.said_by
        return network(inputs).log_softmax(dim=1) + 0.0 * super().forward(inputs)


def test_an_explainer_that_was_right_and_stands_still_lags_and_one_that_follows_does_not() -> None:
    still = Joint(student(), lambda model: Repeats(model, deepcopy(model)), teacher())
    follows = Joint(student(), lambda model: Repeats(model, model), teacher())
    lags = [float(fit(module, epochs=3).callback_metrics["val/explainer/lag"]) for module in (still, follows)]
    assert lags[0] > 1e-3
    assert lags[1] == pytest.approx(0.0, abs=1e-6)


def test_a_frozen_student_is_never_ahead() -> None:
    module = Joint(student(), lambda model: NeuralSurrogate(model, 64, 3), freeze=True)
    assert float(fit(module, epochs=3).callback_metrics["val/explainer/lag"]) == 0.0


def test_it_goes_on_after_a_resume_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = fit(joint(), epochs=3)
    fit(joint(), epochs=2, save=tmp_path / "second.ckpt")
    resumed = fit(joint(), epochs=3, resume=tmp_path / "second.ckpt")
    assert whole.callback_metrics["val/explainer/lag"] == resumed.callback_metrics["val/explainer/lag"]
