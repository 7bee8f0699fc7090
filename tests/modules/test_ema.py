"""The student's running average as its teacher."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.distilled import Distilled
from kdlab.modules.ema import EMA
from kdlab.modules.joint import Joint
from kdlab.teacher import Teacher
from tests.modules.fitting import batch, equal, fit, student, weights


def test_the_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = EMA(model, decay=0.6)
    values = []
    for step, weight in enumerate((1.0, 2.0, 3.0), start=1):
        model.weight.data.fill_(weight)
        average.follow(model, step)
        values.append(float(average.network.weight))
    # d = min(0.6, 1 - 1/(n + 1)) = 1/2, 0.6, 0.6: 0.5; 0.6 * 0.5 + 0.4 * 2 = 1.1; 0.6 * 1.1 + 0.4 * 3 = 1.86
    assert values == pytest.approx([0.5, 1.1, 1.86])
    average.follow(model, 3)
    assert float(average.network.weight) == pytest.approx(1.86)


def test_a_student_teaches_itself() -> None:
    module = Distilled(student(), self_teacher=lambda model: EMA(model, 0.9))
    before = weights(module.model)
    fit(module, epochs=2)
    assert module.average is not None
    assert module.average.steps == 9  # ten steps, of which the last is followed by none
    assert not equal(before, weights(module.average.network))
    assert not equal(weights(module.model), weights(module.average.network))


def test_the_average_is_in_nobodys_hands() -> None:
    module = Distilled(ConvNet(classes=3, width=2), self_teacher=EMA)
    fit(module, epochs=1)
    own = {id(parameter) for parameter in module.average.network.parameters()}  # type: ignore[union-attr]
    optimised = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    assert not own & optimised
    assert not own & {id(parameter) for parameter in module.parameters()}
    assert not any("average" in name for name in module.state_dict())
    assert not module.average.network.training  # type: ignore[union-attr]


def test_metrics_of_fidelity_are_not_offered_the_average() -> None:
    module = Distilled(student(), self_teacher=EMA)
    assert "teacher_logits" not in module.signals(batch())


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def made() -> Distilled:
        return Distilled(student(), self_teacher=lambda model: EMA(model, 0.9))

    whole, first, second = made(), made(), made()
    fit(whole, epochs=3)
    fit(first, epochs=1, save=tmp_path / "first.ckpt")
    fit(second, epochs=3, resume=tmp_path / "first.ckpt")
    assert equal(weights(whole.model), weights(second.model))
    assert equal(weights(whole.average.network), weights(second.average.network))  # type: ignore[union-attr]


def test_a_joint_student_can_teach_itself_too() -> None:
    from kdlab.explainers.neural_surrogate import NeuralSurrogate

    alone = Distilled(student(), self_teacher=EMA)
    joint = Joint(student(), lambda model: NeuralSurrogate(model, 64, 3), self_teacher=EMA)
    fit(alone)
    fit(joint)
    assert equal(weights(alone.model), weights(joint.model))


def test_two_teachers_are_refused() -> None:
    with pytest.raises(ValueError, match="drop one"):
        Distilled(student(), Teacher(MLP(inputs=64, classes=3)), self_teacher=EMA)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        EMA(nn.Linear(1, 1), decay)


def test_counts_and_the_like_are_taken_over() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = EMA(model)
    model.train()(torch.randn(4, 2))
    average.follow(model, 1)
    assert int(average.network.get_buffer("1.num_batches_tracked")) == 1


class Tied(nn.Module):
    """One weight under two names, and a buffer that no state_dict holds."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.second = nn.Linear(1, 1, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("level", torch.zeros(1), persistent=False)


def test_tied_weights_move_once_a_step() -> None:
    model = Tied()
    model.first.weight.data.fill_(0.0)
    average = EMA(model, decay=0.9)
    model.first.weight.data.fill_(1.0)
    model.level.fill_(1.0)
    average.follow(model, 1)
    # d = min(0.9, 1 - 1/2) = 1/2, once: 0.5, not 0.75
    followed = average.network
    assert isinstance(followed, Tied)
    assert float(followed.first.weight) == pytest.approx(0.5)
    assert float(followed.second.weight) == pytest.approx(0.5)
    assert float(followed.level) == pytest.approx(0.5)
