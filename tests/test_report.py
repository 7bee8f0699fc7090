import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from scipy import stats

from kdlab.report.charts import ticks
from kdlab.report.curves import mean_curve
from kdlab.report.report import Report, report
from kdlab.report.statistics import compare, estimate, holm, pareto
from tests.stage_folders import CREATED, begin_stage, complete_stage, write_execution

SEEDS = (0, 1, 2)


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    """A teacher, a baseline, and two students: one better, one the same as the baseline but for noise."""
    teacher = begin_stage(tmp_path, "teacher", kind="Supervised", parameters={"width": 64})
    complete_stage(teacher, {"test/accuracy": 0.98, "cost/parameters": 50_000})
    folders = [teacher]
    for seed in SEEDS:
        noise = 0.01 * seed
        baseline = begin_stage(tmp_path, "baseline", seed, kind="Supervised", parameters={"width": 8})
        complete_stage(baseline, scores(0.80 + noise, 0.40 + noise))
        student = begin_stage(
            tmp_path, "student", seed, teacher=teacher.name, parameters={"width": 8, "student.alpha": 1}
        )
        complete_stage(student, scores(0.90 + noise + 0.001 * seed, 0.40 - noise))
        folders += [baseline, student]
    write_execution(tmp_path, folders)
    return tmp_path


def scores(accuracy: float, deletion: float) -> dict[str, float]:
    return {
        "test/accuracy": accuracy,
        "test/fidelity/agreement": accuracy,
        "test/explanation/deletion_auc": deletion,
        "cost/parameters": 1000,
    }


class Checker(HTMLParser):
    """Collects what is opened and never closed, and all tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.handle_startendtag(tag, attributes)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def checked(page: Path) -> Checker:
    checker = Checker()
    checker.feed(page.read_text())
    assert checker.opened == []
    return checker


def test_the_page_is_whole_and_needs_nothing_else(mlruns: Path) -> None:
    made = report(mlruns, "digits")
    assert made.html == mlruns / "reports" / "digits" / "report.html"
    checker = checked(made.html)
    assert "script" not in checker.tags
    assert all(address.startswith("data:image/png;base64,") for address in checker.addresses)
    assert {"svg", "table", "pre", "img"} <= set(checker.tags)
    assert "http" not in made.html.read_text()


def test_names_from_data_are_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>|`*[a](b)"
    folders = []
    for name in ("baseline", evil):
        folder = begin_stage(tmp_path, name, experiment=evil, kind=evil, parameters={evil: evil, "same": 1})
        complete_stage(folder, {"test/accuracy": 0.9, f"cost/{evil}": 1.0})
        (folder / "explainer.txt").write_text(evil)
        (folder / "figures" / '<b>&".png').write_bytes(b"")
        folders.append(folder)
    write_execution(tmp_path, folders, experiment=evil, provenance={"command": evil}, evaluation="e1")
    made = report(tmp_path)
    checker = checked(made.html)
    assert not {"script", "a"} & set(checker.tags)
    assert "<script" not in made.markdown.read_text().replace(r"\<script", "")
    assert made.html.parent.parent == tmp_path / "reports"
    assert evil in printed(made, 200)


def printed(made: Report, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(made.table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_table_fits_on_eighty_characters(mlruns: Path) -> None:
    shown = printed(report(mlruns), 80)
    for text in ("teacher", "baseline", "student", "3 seeds", "1 seed", "98.0", "± 2.5"):
        assert text in shown
    assert "…" not in shown


def test_the_best_student_is_marked_by_direction_and_the_teacher_is_apart(mlruns: Path) -> None:
    rows = {line.split(" | ")[0].strip("| "): line for line in report(mlruns).summary.splitlines() if "|" in line}
    assert "**91.1 ± 2.7**" in rows["student"]
    assert "| 0.390 ± 0.025 |" in rows["student"]  # its deletion is within noise
    assert "**" not in rows["teacher"]
    assert "**" not in rows["baseline"]


def test_what_cannot_be_told_from_noise_is_said_so(mlruns: Path) -> None:
    (against, *_) = report(mlruns).findings
    assert against.startswith(
        "student against baseline: better in accuracy (+10.1 points, 95 % interval +9.9 to +10.3)"
    )
    assert (
        "no difference that could be told from noise (corrected for all rows of the table) in deletion AUC (−0.020"
        in against
    )


def test_a_worse_student_is_called_worse(tmp_path: Path) -> None:
    folders = []
    for seed in SEEDS:
        for name, accuracy in (("baseline", 0.9), ("student", 0.8 + 0.001 * seed)):
            folder = begin_stage(tmp_path, name, seed, teacher=None if name == "baseline" else "gone")
            complete_stage(folder, {"test/accuracy": accuracy})
            folders.append(folder)
    write_execution(tmp_path, folders)
    assert "student against baseline: worse in accuracy (−9.9 points" in report(tmp_path).findings[0]


def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    folders = [begin_stage(tmp_path, name) for name in ("baseline", "student")]
    for folder, accuracy in zip(folders, (0.8, 0.9), strict=True):
        complete_stage(folder, {"test/accuracy": accuracy})
    write_execution(tmp_path, folders)
    made = report(tmp_path)
    assert "too few to tell from noise" in made.findings[0]
    assert "±" not in made.summary


def test_intervals_are_given_the_teacher(mlruns: Path) -> None:
    assert "Intervals are given this teacher (teacher)" in report(mlruns).markdown.read_text()


def test_a_stage_that_scores_the_same_in_every_seed_is_named(tmp_path: Path) -> None:
    folders = []
    for seed in SEEDS:
        for name, gain in (("baseline", 0.0), ("student", 0.05 + 0.001 * seed), ("joint", 0.05 + 0.001 * seed)):
            folder = begin_stage(tmp_path, name, seed, teacher=None if name == "baseline" else "gone")
            extra = {"test/explainer/agreement": 0.95} if name == "joint" else {}
            complete_stage(folder, {"test/accuracy": 0.8 + gain, **extra})
            folders.append(folder)
    write_execution(tmp_path, folders)
    said = report(tmp_path).findings
    assert "joint scores the same as student in every seed, so the same holds for it." in said
    assert not any(line.startswith("joint against") for line in said)


def test_a_stage_that_scores_the_same_in_one_quality_alone_is_no_other_one(tmp_path: Path) -> None:
    folders = []
    for seed in SEEDS:
        for name, deletion in (("baseline", 0.4), ("student", 0.3), ("joint", 0.2)):
            folder = begin_stage(tmp_path, name, seed, teacher=None if name == "baseline" else "gone")
            complete_stage(folder, scores(0.8 + 0.01 * seed, deletion + 0.001 * seed**2))
            folders.append(folder)
    write_execution(tmp_path, folders)
    said = report(tmp_path).findings
    assert not any("scores the same" in line for line in said)
    assert [line.split(":")[0] for line in said] == ["student against baseline", "joint against baseline"]


def test_every_row_of_a_markdown_table_has_the_cells_of_its_head_whatever_names_hold(tmp_path: Path) -> None:
    folders = [begin_stage(tmp_path, name, parameters={"a|b": name}) for name in ("baseline", "x|y")]
    for folder in folders:
        complete_stage(folder)
    write_execution(tmp_path, folders, experiment="digits|letters")
    tables = re.findall(r"(?:^\|.*\|$\n?)+", report(tmp_path).markdown.read_text(), re.MULTILINE)
    assert len(tables) == 5
    for rows in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}) == 1


def test_a_size_of_two_thousand_bytes_is_two_kilobytes(tmp_path: Path) -> None:
    folder = begin_stage(tmp_path)
    complete_stage(folder, {"test/accuracy": 0.9, "cost/bytes": 2000.0, "cost/training_memory_bytes": 3e6})
    write_execution(tmp_path, [folder])
    head, _, row = report(tmp_path).markdown.read_text().split("## Cost\n\n")[1].splitlines()[:3]
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert (cells["Size (kB)"], cells["Memory of the training (MB)"]) == ("2.0", "3.0")


def test_unfinished_and_undefined_are_said(tmp_path: Path) -> None:
    folders = [begin_stage(tmp_path, "student", seed) for seed in SEEDS]
    complete_stage(folders[0], {"test/accuracy": 0.8, "test/explanation/teacher_cosine": math.nan})
    write_execution(tmp_path, folders, status="KILLED")
    made = report(tmp_path)
    assert made.findings[0] == "Not everything has been tested yet: student (1 of 3 seeds)."
    assert "student: attribution agreement undefined in 1 of 1 seeds." in made.findings
    checked(made.html)


def test_nothing_tested_yet_is_a_page_too(tmp_path: Path) -> None:
    write_execution(tmp_path, [begin_stage(tmp_path)], status="RUNNING")
    checked(report(tmp_path).html)


def test_only_settings_that_differ_are_listed(mlruns: Path) -> None:
    text = report(mlruns).markdown.read_text()
    section = text.split("## Settings that differ")[1].split("##")[0]
    assert "| alpha | – | – | 1 |" in section
    assert "| width | 64 | 8 | 8 |" in section


def test_scores_of_another_evaluation_are_not_mixed_in(mlruns: Path) -> None:
    folder = next(folder for folder in (mlruns / "stages").iterdir() if folder.name.endswith("2"))
    record = {"metrics": {"test/accuracy": 0.0}, "time": CREATED}
    (folder / "test-other.json").write_text(json.dumps(record))
    assert "0.0 " not in report(mlruns).summary


def test_the_newest_execution_is_taken_and_others_by_id(mlruns: Path) -> None:
    folder = next((mlruns / "stages").iterdir())
    write_execution(mlruns, [folder], "later", started=CREATED + 5, status="KILLED")
    assert "later" in report(mlruns, "digits").html.read_text()
    assert "run1" in report(mlruns, execution="run1").html.read_text()


@pytest.mark.parametrize(
    ("experiment", "execution", "message"),
    [
        ("digts", None, "no execution of experiment digts in .*; experiments with executions: digits"),
        (None, "nope", "no execution nope in .*; the newest are: run1"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(
    mlruns: Path, experiment: str | None, execution: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        report(mlruns, experiment, execution)


def test_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.3027, half = 4.3027 / sqrt(3) = 2.4842
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half == pytest.approx(2.4842, abs=1e-4)
    assert estimate([1.0, math.nan]).half is None


def test_paired_test_agrees_with_scipy() -> None:
    one, other = {0: 0.91, 1: 0.93, 2: 0.90, 3: 0.95}, {0: 0.88, 1: 0.92, 2: 0.87, 3: 0.90}
    found, expected = compare(one, other), stats.ttest_rel(list(one.values()), list(other.values()))
    assert found is not None
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert found.estimate.half == pytest.approx((interval.high - interval.low) / 2)


def test_pairing_is_by_seed_not_by_place() -> None:
    found = compare({1: 0.5, 2: 0.7}, {2: 0.6, 3: 0.1})
    assert found is not None
    assert found.estimate.count == 1
    assert found.estimate.mean == pytest.approx(0.1)
    assert compare({1: 0.5}, {2: 0.5}) is None


def test_differences_without_spread_have_no_p() -> None:
    same = compare({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6})
    assert same is not None
    assert same.identical
    assert same.p is None


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04 times 3, 2, 1 -> 0.03, 0.04, 0.04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    # 0.01 * 2 = 0.02, then 0.011 * 1 = 0.011: a larger p never gets a smaller corrected one
    assert holm([0.01, 0.011]) == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_a_point_beaten_in_everything_is_off_the_front() -> None:
    assert pareto({"a": [1, 2], "b": [2, 1], "c": [1, 1], "d": [1, 2]}) == {"a", "b", "d"}


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.5, 0.5], [0.0, 0.0], [-3e-9, 7e9], [97.1, 97.3]])
def test_an_axis_holds_its_values_between_few_round_ticks(values: list[float]) -> None:
    places = ticks(values)
    rounding = 1e-6 * (max(values) - min(values))
    assert places[0] - rounding <= min(values)
    assert max(values) <= places[-1] + rounding
    assert 2 <= len(places) <= 9


def test_a_curve_leaves_out_epochs_at_which_a_seed_that_goes_on_has_no_value() -> None:
    by_epoch = {0: {0: 1.0, 1: 3.0}, 1: {0: 9.0}, 2: {0: 2.0, 1: 4.0}, 3: {1: 6.0}}
    # Epoch 1 is seed 0's alone although seed 1 goes on; seed 0 ended at epoch 2.
    assert mean_curve(by_epoch) == [(0, 2.0, 1.0, 3.0), (2, 3.0, 2.0, 4.0), (3, 6.0, 6.0, 6.0)]
