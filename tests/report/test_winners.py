"""Best is what the paired test says is best, and nothing else."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kdlab.records.executions import read_execution
from kdlab.report.columns import ACCURACY, COLUMNS, DELETION
from kdlab.report.findings import notes, verdict
from kdlab.report.report import report
from kdlab.report.summary import Summary, summarise
from tests.stage_folders import begin_stage, complete_stage, write_execution

QUALITIES = [column for column in COLUMNS if column.quality]


def summary(mlruns: Path, values: Mapping[str, Mapping[str, Sequence[float]]], teacher: str = "gone") -> Summary:
    """An execution of these stages with these values by metric, a number a seed."""
    folders = []
    for stage, metrics in values.items():
        for seed in range(max(map(len, metrics.values()))):
            taught = None if stage == "baseline" else teacher
            folder = begin_stage(mlruns, stage, seed, teacher=taught)
            scores = {key: numbers[seed] for key, numbers in metrics.items() if seed < len(numbers)}
            complete_stage(folder, scores, epochs=1, files=False)
            folders.append(folder)
    write_execution(mlruns, folders)
    execution = read_execution(mlruns, "run1")
    assert execution is not None
    return summarise(execution)


def accuracies(**values: Sequence[float]) -> dict[str, dict[str, Sequence[float]]]:
    return {stage: {ACCURACY.key: numbers} for stage, numbers in values.items()}


def test_a_mean_that_noise_may_have_made_is_not_marked(tmp_path: Path) -> None:
    found = summary(tmp_path, accuracies(baseline=(0.80, 0.97, 0.88), student=(0.87, 0.93, 0.89)))
    assert found.best(ACCURACY) == set()
    assert "Nothing is bold: no best mean can be told from noise." in notes(found)
    assert "**" not in report(tmp_path).summary


def test_one_seed_marks_nothing(tmp_path: Path) -> None:
    assert summary(tmp_path, accuracies(baseline=(0.2,), student=(0.9,))).best(ACCURACY) == set()


def test_the_best_beats_every_other_stage_and_not_the_baseline_alone(tmp_path: Path) -> None:
    baseline, other = (0.70, 0.71, 0.72, 0.73), (0.90, 0.93, 0.90, 0.93)
    near, far = (0.92, 0.92, 0.92, 0.92), (0.95, 0.98, 0.95, 0.981)
    assert summary(tmp_path / "1", accuracies(baseline=baseline, other=other, student=near)).best(ACCURACY) == set()
    clear = summary(tmp_path / "2", accuracies(baseline=baseline, other=other, student=far))
    assert clear.best(ACCURACY) == {"student"}


def test_equal_ones_share_the_mark(tmp_path: Path) -> None:
    student = (0.90, 0.91, 0.925)
    found = summary(tmp_path, accuracies(baseline=(0.70, 0.71, 0.72), student=student, joint=student))
    assert found.best(ACCURACY) == {"student", "joint"}
    alike = summary(tmp_path / "alike", accuracies(baseline=student, student=student))
    assert alike.best(ACCURACY) == set()


def test_the_lower_deletion_wins_and_the_baseline_may(tmp_path: Path) -> None:
    values = {"baseline": {DELETION.key: (0.20, 0.21, 0.22)}, "student": {DELETION.key: (0.40, 0.42, 0.41)}}
    assert summary(tmp_path, values).best(DELETION) == {"baseline"}


def test_a_seed_that_is_missing_is_not_held_against_a_stage(tmp_path: Path) -> None:
    # The student's mean is higher since its weak third seed is missing; seed by seed it is worse.
    values = accuracies(baseline=(0.90, 0.91, 0.30), student=(0.85, 0.861))
    assert summary(tmp_path, values).best(ACCURACY) == set()


def test_costs_are_not_tested_and_so_not_marked(tmp_path: Path) -> None:
    values = {"baseline": {"cost/parameters": (100, 100)}, "student": {"cost/parameters": (10, 10)}}
    found = summary(tmp_path, values)
    assert not any(found.best(column) for column in COLUMNS)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_nothing_is_best_that_the_comparison_calls_noise(stages: int, tmp_path: Path) -> None:
    draw = random.Random(stages)
    names = ["baseline", "student", "joint", "surrogate"][:stages]
    marked = unmarked = 0
    for number in range(30):
        spread = draw.choice([0.001, 0.02, 0.1])
        levels = {name: draw.uniform(0.4, 0.6) for name in names}
        values = {
            name: {c.key: [levels[name] + draw.gauss(0, spread) for _ in range(3)] for c in QUALITIES} for name in names
        }
        found = summary(tmp_path / str(number), values)
        for column in QUALITIES:
            best = found.best(column)
            marked, unmarked = marked + bool(best), unmarked + (not best)
            said = {s.name: verdict(found.differences[s.name, column.key], column) for s in found.compared}
            if best == {"baseline"}:
                assert set(said.values()) == {"worse"}
            else:
                assert all(said[name] == "better" for name in best)
            if stages == 2:  # the same test, so the same answer
                assert bool(best) == ("within noise" not in said.values())
    assert marked > 10
    assert unmarked > 10
