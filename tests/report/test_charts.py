"""Axes, labels and colours of the report's charts."""

import re

import pytest
from matplotlib.axes import Axes

from kdlab.report.charts import VARIABLES, chart, colour, label, ticks


def test_an_axis_of_epochs_has_ticks_at_whole_numbers_only() -> None:
    assert ticks([0, 2], whole=True) == [0, 1, 2]
    assert ticks([3, 3], whole=True) == [2, 3, 4]
    assert ticks([0, 2]) == [0, 0.5, 1, 1.5, 2]


def labelled(*names: str) -> str:
    """A chart with a point a name, all at the same height and near each other."""

    def draw(axes: Axes) -> None:
        label(axes, {(0.5 + 0.001 * number, 0.5): name for number, name in enumerate(names)})

    return chart("x", "y", [0.0, 1.0], [0.0, 1.0], draw)


def test_what_a_name_holds_is_text_and_no_formula() -> None:
    drawn = labelled("<b>$x^2$&")
    assert "&lt;b&gt;$x^2$&amp;</text>" in drawn
    assert "<b>" not in drawn


def test_a_long_name_is_cut() -> None:
    assert f"{'n' * 25}…</text>" in labelled("n" * 40)


def test_names_of_points_that_lie_together_keep_apart() -> None:
    drawn = labelled("student", "joint", "baseline")
    places = re.findall(r'anchor: (\w+); [^>]*y="([\d.]+)"[^>]*>(?:student|joint|baseline)<', drawn)
    assert len(places) == 3
    assert len(set(places)) == 3


def test_the_same_chart_has_the_same_bytes() -> None:
    assert labelled("student") == labelled("student")


@pytest.mark.parametrize("number", [0, 7, 8])
def test_colours_are_variables_of_the_style_sheet(number: int) -> None:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=colour(number))

    drawn = chart("x", "y", [0.0, 1.0], [0.0, 1.0], draw)
    assert f"stroke: var(--c{number % 8})" in drawn
    assert "#abcde" not in drawn
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= set(VARIABLES)
