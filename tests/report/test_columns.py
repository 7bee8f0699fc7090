"""How numbers are written: intervals that end where the scale does, shares that are never a power of ten."""

import itertools
import math
import re
from pathlib import Path

import pytest

from kdlab.report.charts import ticks
from kdlab.report.columns import ACCURACY, COLUMNS, DELETION, Column
from kdlab.report.findings import percent
from kdlab.report.report import report
from kdlab.report.statistics import Estimate, estimate
from tests.stage_folders import begin_stage, complete_stage, log_epoch, write_execution

BOUNDED = [column for column in COLUMNS if math.isfinite(column.ends[0])]


def test_every_quality_has_an_end_on_both_sides() -> None:
    assert [column for column in COLUMNS if column.quality] == BOUNDED


@pytest.mark.parametrize(
    ("column", "found", "written"),
    [
        (ACCURACY, Estimate(0.882, 0.195, 3), "88.2 (68.7–100)"),
        (ACCURACY, Estimate(0.05, 0.10, 3), "5.0 (0–15.0)"),
        (ACCURACY, Estimate(0.5, 0.9, 3), "50.0 (0–100)"),
        (ACCURACY, Estimate(0.5, 0.1, 3), "50.0 ± 10.0"),
        (DELETION, Estimate(0.9, 0.2, 3), "0.900 (0.700–1)"),
        (COLUMNS[3], Estimate(-0.9, 0.2, 3), "−0.900 (−1–−0.700)"),
        (ACCURACY, Estimate(1.0, 0.0, 3), "100.0"),
        (ACCURACY, Estimate(0.9, None, 1), "90.0"),
    ],
)
def test_an_interval_stops_where_the_scale_does(column: Column, found: Estimate, written: str) -> None:
    assert column.estimate(found) == written


def test_the_interval_of_a_difference_may_lie_below_zero() -> None:
    assert ACCURACY.difference(Estimate(-0.1, 0.05, 3)) == "−15.0 to −5.0"
    assert ACCURACY.difference(Estimate(-0.9, 0.2, 3)) == "−100.0 to −70.0"


@pytest.mark.parametrize("column", BOUNDED, ids=lambda column: column.key)
def test_no_interval_of_possible_values_leaves_the_scale(column: Column) -> None:
    steps = [column.ends[0] + (column.ends[1] - column.ends[0]) * part / 4 for part in range(5)]
    for values in itertools.product(steps, repeat=3):
        low, high = column.interval(estimate(values))
        assert column.ends[0] <= low <= high <= column.ends[1]
        shown = [float(n) for n in re.findall(r"[+−]?[\d.]+", column.difference(estimate(values)).replace("−", "-"))]
        assert max(map(abs, shown)) <= (column.ends[1] - column.ends[0]) * column.scale


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.0, 0.0), (0.97, 1.0), (0.0, 0.03), (0.999, 0.9991), (0.0, 1.0)])
def test_an_axis_of_shares_stops_at_its_ends(values: tuple[float, float]) -> None:
    for scale in (1.0, 100.0):
        first, *_, last = ticks([value * scale for value in values], ends=(0.0, scale))
        assert first >= 0
        assert last <= scale * (1 + 1e-9)
        assert first < last


def test_no_tick_of_the_page_lies_beyond_what_is_possible(tmp_path: Path) -> None:
    folders = []
    for seed, accuracy in enumerate((0.99, 0.70, 1.0)):
        for stage in ("baseline", "student"):
            folder = begin_stage(tmp_path, stage, seed, teacher=None if stage == "baseline" else "gone")
            scores = {c.key: abs(accuracy) for c in COLUMNS if c.quality}
            log_epoch(folder, 3, metrics={"val/accuracy": 1.0, "train/loss": 0.1})
            complete_stage(folder, scores, files=False)
            folders.append(folder)
    write_execution(tmp_path, folders)
    page = report(tmp_path).html.read_text()
    charts = {name: svg for svg, name in re.findall(r'(<svg[^>]*aria-label="([^"]*)".*?</svg>)', page, re.DOTALL)}
    assert {name.split(" over ")[0] for name in charts} >= {"Accuracy on validation data ↑", "Deletion AUC ↓"}
    for name, svg in charts.items():
        written = [float(t.replace("−", "-")) for t in re.findall(r"text-anchor: end[^>]*>([−\d.]+)<", svg)]
        assert len(written) > 1, name
        top = 100 if "%" in name.split(" over ")[0] else 1
        assert (min(written) >= 0 and max(written) <= top) or "loss" in name, name
        places = [float(place) for place in re.findall(r'\b[xy]="([\d.-]+)"', svg)]
        assert min(places) >= 0


def test_shares_of_every_size_are_written_in_digits() -> None:
    for power, digits in itertools.product(range(-8, 4), (1.0, 1.5, 9.94, 9.96, 9.999)):
        share = digits * 10.0**power
        text = percent(share)
        assert re.fullmatch(r"(less than 0\.01|[\d\u202f]+(\.\d+)?) %", text), text
        if "less" in text:
            assert share < 1e-4
        else:
            assert float(text[:-2].replace("\u202f", "")) == pytest.approx(100 * share, rel=0.051)
    assert (percent(1.0), percent(0.0213), percent(0.5), percent(12.0)) == ("100 %", "2.1 %", "50 %", "1\u202f200 %")
