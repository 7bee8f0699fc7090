"""Several teachers as one: by hand, by published implementations, and from the cache."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.models.mlp import MLP
from kdlab.modules.combinations import Combination, MeanOfLogits, MeanOfProbabilities
from kdlab.records.soft_labels import SoftLabels
from kdlab.teacher import Ensemble, Teacher

REFERENCE = Path(__file__).parents[1] / "reference"
CASES = [
    case
    for case in json.loads((REFERENCE / "kd_losses.json").read_text())["cases"]
    if case["family"] == "multi-teacher"
]


def log(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def test_values_by_hand() -> None:
    # (1/2, 1/2) and (9/10, 1/10): the mean is (7/10, 3/10); of logits (0, 0) and (ln 9, 0) it is (ln 3, 0) = (3/4, 1/4)
    both = torch.stack([log(0.5, 0.5), log(0.9, 0.1)])
    torch.testing.assert_close(MeanOfProbabilities()(both).exp(), torch.tensor([[0.7, 0.3]]))
    torch.testing.assert_close(MeanOfLogits()(both).softmax(1), torch.tensor([[0.75, 0.25]]))
    # weights 3 to 1: 3/4 * 1/2 + 1/4 * 9/10 = 0.6
    torch.testing.assert_close(MeanOfProbabilities([3, 1])(both).exp(), torch.tensor([[0.6, 0.4]]))
    torch.testing.assert_close(MeanOfLogits([6, 2])(both), 0.75 * both[0] + 0.25 * both[1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_agrees_with_a_published_implementation(case: dict[str, object]) -> None:
    arrays = np.load(REFERENCE / "kd_losses.npz")
    student, teachers = (torch.from_numpy(arrays[case["inputs"][key]]).double() for key in ("s", "ts"))  # type: ignore[index]
    temperature = case["args"]["T"]  # type: ignore[index]
    if "meanlogit" in str(case["id"]):
        combined = MeanOfLogits()(teachers)
        soft = (combined / temperature).softmax(1)  # the peer's cross-entropy is the divergence and this entropy
        value = SoftTargets(temperature)(student, combined) / temperature**2 - (soft * soft.log()).sum(1).mean()
    else:
        value = SoftTargets(temperature)(student, MeanOfProbabilities()(teachers)) / temperature**2
    assert value.item() == pytest.approx(case["value_f64"], rel=1e-9)


@pytest.mark.parametrize("combine", [MeanOfLogits(), MeanOfProbabilities(), MeanOfProbabilities([1, 3])])
def test_cached_logits_equal_live_ones(combine: Combination) -> None:
    inputs, teachers = torch.randn(6, 5), [Teacher(MLP(inputs=5, classes=3)) for _ in range(2)]
    batch = {"inputs": inputs, "index": torch.arange(6), "view": torch.zeros(6, dtype=torch.int64)}
    live = Ensemble(teachers, combine)(inputs)
    for teacher in teachers:
        teacher.soft_labels = SoftLabels(teacher(inputs))
    torch.testing.assert_close(Ensemble(teachers, combine).logits(batch), live)


def test_probabilities_are_finite_where_logits_are_extreme() -> None:
    logits = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]])
    torch.testing.assert_close(MeanOfProbabilities()(logits).exp(), torch.tensor([[0.5, 0.5]]))
    assert MeanOfProbabilities()(logits.half().bfloat16()).dtype == torch.float32


def test_a_weight_of_zero_leaves_a_teacher_out() -> None:
    logits = torch.randn(2, 4, 3)
    torch.testing.assert_close(MeanOfProbabilities([1, 0])(logits), logits[0].log_softmax(1))


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], []])
def test_weights_out_of_range_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        MeanOfLogits(weights)


def test_one_weight_a_teacher() -> None:
    with pytest.raises(ValueError, match="3 weights for 2 teachers"):
        MeanOfProbabilities([1, 1, 1])(torch.randn(2, 4, 3))
