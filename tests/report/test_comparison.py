"""The comparison with the baseline: which p decides, where each stands, and who is counted."""

from pathlib import Path

import pytest

from kdlab.records.executions import read_execution
from kdlab.report.columns import ACCURACY, COLUMNS, DELETION
from kdlab.report.findings import findings, p_value, verdict
from kdlab.report.report import report
from kdlab.report.statistics import Difference, estimate
from kdlab.report.summary import Summary, summarise
from kdlab.report.tables import comparison
from tests.stage_folders import begin_stage, complete_stage, write_execution

BASELINE = {ACCURACY.key: (0.50, 0.60, 0.70), DELETION.key: (0.40, 0.50, 0.60)}
# Differences .04, .05, .09 in accuracy: mean .06, s .02646, t 3.928, p .0592; in the second .05, .06, .07: p .0091.
DOUBTFUL = {ACCURACY.key: (0.54, 0.65, 0.79), DELETION.key: (0.41, 0.49, 0.62)}
CLEAR = {ACCURACY.key: (0.58, 0.679, 0.781), DELETION.key: (0.45, 0.56, 0.67)}


def summary(mlruns: Path, **students: dict[str, tuple[float, ...]]) -> Summary:
    """A baseline, a teacher that is trained with every seed, and students that it teaches."""
    folders, taught = [], {}
    for seed in range(3):
        teacher = begin_stage(mlruns, "teacher", seed)
        complete_stage(teacher, dict.fromkeys(BASELINE, 0.9 + 0.001 * seed**2), epochs=1, files=False)
        taught[seed] = teacher.name
        folders.append(teacher)
    for stage, values in {"baseline": BASELINE, **students}.items():
        for seed in range(3):
            folder = begin_stage(mlruns, stage, seed, teacher=None if stage == "baseline" else taught[seed])
            complete_stage(folder, {key: numbers[seed] for key, numbers in values.items()}, epochs=1, files=False)
            folders.append(folder)
    write_execution(mlruns, folders)
    execution = read_execution(mlruns, "run1")
    assert execution is not None
    return summarise(execution)


def test_teachers_are_neither_compared_nor_counted_in_the_correction(tmp_path: Path) -> None:
    found = summary(tmp_path, student={ACCURACY.key: CLEAR[ACCURACY.key]})
    assert set(found.differences) == {("student", ACCURACY.key)}
    (difference,) = found.differences.values()
    assert difference.p is not None
    assert difference.adjusted == difference.p  # of one test, nothing is to be corrected


def test_every_teacher_of_an_ensemble_is_one(tmp_path: Path) -> None:
    teachers = [begin_stage(tmp_path, name) for name in ("first", "second")]
    student = begin_stage(tmp_path, "student", teacher=[folder.name for folder in teachers])
    folders = [begin_stage(tmp_path, "baseline"), *teachers, student]
    for folder in folders:
        complete_stage(folder, epochs=1, files=False)
    write_execution(tmp_path, folders)
    execution = read_execution(tmp_path, "run1")
    assert execution is not None
    found = summarise(execution)
    assert [stage.name for stage in found.stages if stage.teaches] == ["first", "second"]
    assert [stage.name for stage in found.compared] == ["student"]


def test_a_p_that_only_the_correction_lifts_decides_nothing(tmp_path: Path) -> None:
    values = {
        c.key: tuple(base + gain for base, gain in zip((0.5, 0.6, 0.7), (0.04, 0.06, 0.07), strict=True))
        for c in COLUMNS
        if c.quality
    }
    found = summary(tmp_path, student=values, **{f"student{n}": DOUBTFUL for n in range(3)})
    difference = found.differences["student", ACCURACY.key]
    assert difference.p is not None
    assert difference.adjusted is not None
    assert difference.p < 0.05 < difference.adjusted
    assert verdict(difference, ACCURACY) == "within noise"
    (row,) = [row for row in comparison(found) if row[:2] == ["student", "Accuracy"]]
    assert row[2] == "within noise"
    assert not any("better in" in line for line in findings(found))


def test_p_stands_before_corrected_p_in_every_form(tmp_path: Path) -> None:
    found = summary(tmp_path, student=CLEAR, other=DOUBTFUL)
    rows = comparison(found)
    assert len(rows) == 4
    for row in rows:
        key = next(column.key for column in COLUMNS if column.title == row[1])
        difference = found.differences[row[0], key]
        assert row[5:] == [p_value(difference.p), p_value(difference.adjusted)]
    # Holm by hand: the smallest p times 4, the next times 3, and so on, never falling, at most 1.
    raw = sorted(d.p for d in found.differences.values() if d.p is not None)
    expected, largest = [], 0.0
    for rank, p in enumerate(raw):
        largest = max(largest, min(1.0, (4 - rank) * p))
        expected.append(largest)
    pairs = sorted((d.p, d.adjusted) for d in found.differences.values() if d.p is not None and d.adjusted is not None)
    assert [adjusted for _, adjusted in pairs] == pytest.approx(expected)
    assert any(row[5] != row[6] for row in rows)
    made = report(tmp_path)
    assert "| p | p (Holm) |" in made.markdown.read_text()
    page = made.html.read_text()
    assert '<th scope="col">p</th><th scope="col">p (Holm)</th>' in page
    for row in rows:
        assert (
            f"<td>{row[5]}</td><td>{row[6]}</td>".replace("<", "&lt;")
            .replace("&lt;td", "<td")
            .replace("&lt;/td", "</td")
            in page
        )
        assert f"| {row[5]} | {row[6]} |".replace("<", r"\<") in made.markdown.read_text()


@pytest.mark.parametrize(
    ("p", "adjusted", "said"),
    [(0.01, 0.04, "better"), (0.01, 0.06, "within noise"), (0.01, 0.05, "within noise"), (0.01, None, "within noise")],
)
def test_the_corrected_p_alone_decides(p: float, adjusted: float | None, said: str) -> None:
    assert verdict(Difference(estimate([0.1, 0.2, 0.3]), p, adjusted), ACCURACY) == said


@pytest.mark.parametrize(
    ("values", "column", "said"),
    [
        ([0.1, 0.1, 0.1], ACCURACY, "better"),
        ([0.1, 0.1, 0.1], DELETION, "worse"),
        ([-0.1, -0.1], DELETION, "better"),
        ([0.0, 0.0], ACCURACY, "identical in every seed"),
        ([0.0], ACCURACY, "equal, one seed only"),
        ([0.1], ACCURACY, "one seed: cannot be told from noise"),
    ],
)
def test_what_needs_no_test_is_said_by_the_differences(values: list[float], column: object, said: str) -> None:
    assert isinstance(column, type(ACCURACY))
    assert verdict(Difference(estimate(values), None), column) == said
