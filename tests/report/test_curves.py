"""Learning curves: what is drawn of stages that have many epochs, and of those that have one."""

from kdlab.report.curves import Curve, _chart


def drawn_of(curve: Curve) -> str:
    return str(_chart("val/accuracy", {0: [(0, 0.5, 0.4, 0.6), (1, 0.7, 0.6, 0.8)], 1: curve}))


def test_a_stage_of_one_epoch_is_a_point_and_not_an_empty_line() -> None:
    alone = [(0.0, 0.9, 0.9, 0.9)]
    assert drawn_of(alone).count("<use") == drawn_of([*alone, (1.0, 0.9, 0.9, 0.9)]).count("<use") + 1
