"""Axes of the report's charts."""

from kdlab.report.charts import axis


def test_an_axis_of_epochs_has_ticks_at_whole_numbers_only() -> None:
    assert axis([0, 2], whole=True).ticks == [0, 1, 2]
    assert axis([3, 3], whole=True).ticks == [2, 3, 4]
    assert axis([0, 2]).ticks == [0, 0.5, 1, 1.5, 2]
