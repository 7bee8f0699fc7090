"""The report's sentence on which students no other beats."""

from pathlib import Path

import pytest

from kdlab.report.columns import ACCURACY, DELETION
from kdlab.report.trade_offs import Spread, _spread, front
from tests.report.test_winners import summary


def test_the_front_takes_a_low_deletion_auc_for_good(tmp_path: Path) -> None:
    values = {
        "baseline": {ACCURACY.key: [0.7, 0.72], DELETION.key: [0.5, 0.5]},
        "exact": {ACCURACY.key: [0.9, 0.9], DELETION.key: [0.4, 0.42]},
        "faithful": {ACCURACY.key: [0.8, 0.8], DELETION.key: [0.2, 0.22]},
    }
    sentence = front(summary(tmp_path, values))
    assert sentence is not None
    assert "no other student is at least as good in all of accuracy, deletion AUC: exact, faithful." in sentence


def test_an_arm_reaches_from_the_mean_to_its_own_end() -> None:
    assert Spread([0.5, 0.9], 0.7, low=0.6, high=0.95).arms == [[pytest.approx(0.1)], [pytest.approx(0.25)]]
    # Rounding may put an end on the other side of the mean: an arm has no negative length.
    assert Spread([0.7], 0.7, low=0.7000001, high=0.6999999).arms == [[0.0], [0.0]]


def test_a_large_dot_is_the_mean_of_its_small_ones(tmp_path: Path) -> None:
    (stage,) = summary(tmp_path, {"student": {ACCURACY.key: [0.7, 0.9, 0.5], DELETION.key: [0.3, 0.2, 0.1]}}).stages
    spread = _spread(stage, ACCURACY, [0, 2])
    assert spread.values == [pytest.approx(70.0), pytest.approx(50.0)]
    assert spread.mean == pytest.approx(60.0)
