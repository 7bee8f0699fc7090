"""Factors by hand, and that a resumed run has them again."""

import pytest

from kdlab.modules.schedules import CosineDecay, CosineWarmUp, LinearDecay, LinearWarmUp, Product, Schedule, Steps

ALL: list[Schedule] = [LinearWarmUp(4), CosineWarmUp(4, 0.2), LinearDecay(4), CosineDecay(4, 0.1, 2), Steps([2, 5])]


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (LinearWarmUp(4), [0.25, 0.5, 0.75, 1.0, 1.0]),
        (LinearWarmUp(4, start=0.2), [0.4, 0.6, 0.8, 1.0, 1.0]),
        # (1 - cos(pi t)) / 2 at t = 1/4, 1/2, 3/4: (1 - 0.70711) / 2, 1/2, (1 + 0.70711) / 2
        (CosineWarmUp(4), [0.146447, 0.5, 0.853553, 1.0, 1.0]),
        (LinearDecay(4), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        (LinearDecay(2, end=0.5, after=1), [1.0, 1.0, 0.75, 0.5, 0.5]),
        (CosineDecay(2, end=0.2), [1.0, 0.6, 0.2, 0.2]),
        (Steps([1, 3], by=0.5), [1.0, 0.5, 0.5, 0.25]),
        (Product([LinearWarmUp(2), Steps([2], by=0.1)]), [0.5, 1.0, 0.1]),
    ],
)
def test_factors_by_hand(schedule: Schedule, factors: list[float]) -> None:
    assert [schedule.factor(epoch) for epoch in range(len(factors))] == pytest.approx(factors, abs=1e-6)


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_a_factor_depends_on_the_epoch_alone(schedule: Schedule) -> None:
    forwards = [schedule.factor(epoch) for epoch in range(8)]
    assert [schedule.factor(epoch) for epoch in reversed(range(8))] == forwards[::-1]
    assert all(0 <= factor <= 1 for factor in forwards)


def test_a_warm_up_never_starts_at_zero() -> None:
    # A weight of zero would leave the term's gradient path unchecked.
    assert LinearWarmUp(100).factor(0) > 0
    assert CosineWarmUp(100).factor(0) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LinearWarmUp(0),
        lambda: CosineWarmUp(3, start=1.5),
        lambda: LinearDecay(3, after=-1),
        lambda: CosineDecay(3, end=-0.1),
        lambda: Steps([-1]),
        lambda: Steps([1], by=-2.0),
    ],
)
def test_arguments_out_of_range_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="must"):
        wrong()  # type: ignore[operator]
