"""The whole report of made-up executions, as it was read by a person once: whatever changes in it is seen.

``KDLAB_RECORD=1 pytest tests/report/test_recorded.py`` writes the files anew; read the difference before you keep it.
"""

import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kdlab.report.columns import COLUMNS
from kdlab.report.report import report
from kdlab.report.tables import COSTS
from tests.stage_folders import begin_stage, complete_stage, write_execution

RECORDED = Path(__file__).parent / "recorded"
Values = Mapping[str, tuple[float, ...]]

#: Three seeds each; accuracy and agreement are better when higher, deletion AUC and calibration error when lower.
BASELINE: Values = {
    "test/accuracy": (0.70, 0.72, 0.71),
    "test/fidelity/agreement": (0.75, 0.76, 0.77),
    "test/calibration_error": (0.10, 0.11, 0.12),
    "test/explanation/deletion_auc": (0.40, 0.41, 0.42),
    "test/explanation/insertion_auc": (0.60, 0.61, 0.62),
    "cost/parameters": (1000, 1000, 1000),
    "cost/latency_ms": (0.5, 0.6, 0.7),
    "cost/training_seconds": (2.0, 3.0, 4.0),
    "cost/flops": (2000, 2000, 2000),
}
TEACHER: Values = {
    "test/accuracy": (0.95,),
    "test/explanation/deletion_auc": (0.30,),
    "cost/parameters": (100_000,),
    "cost/latency_ms": (5.0,),
    "cost/training_seconds": (20.0,),
}


def moved(by: Mapping[str, tuple[float, ...]]) -> Values:
    """The baseline's values, some of them moved seed by seed."""
    return {
        key: tuple(value + change for value, change in zip(values, by.get(key, (0, 0, 0)), strict=True))
        for key, values in BASELINE.items()
    }


BETTER = moved(
    {
        "test/accuracy": (0.10, 0.101, 0.102),
        "test/fidelity/agreement": (0.05, 0.051, 0.049),
        "test/explanation/deletion_auc": (0.05, 0.051, 0.052),
        "test/explanation/insertion_auc": (0.10, -0.10, 0.02),
    }
)
SLIGHTLY = moved({"test/accuracy": (0.04, 0.05, 0.01), "test/calibration_error": (-0.02, -0.021, -0.022)})


def stages(mlruns: Path, values: Mapping[str, Values], **taught_by: str) -> list[Path]:
    """Finished stages, a seed for each value; ``student="teacher"`` says who teaches whom."""
    folders: dict[tuple[str, int], Path] = {}
    for stage, numbers in values.items():
        for seed in range(len(next(iter(numbers.values())))):
            teacher = taught_by.get(stage)
            own = None if teacher is None else folders.get((teacher, seed), folders.get((teacher, 0)))
            folder = begin_stage(
                mlruns,
                stage,
                seed,
                kind="Supervised" if teacher is None else "Distilled",
                teacher=None if own is None else own.name,
                parameters={"width": 64 if stage == "teacher" else 8, f"{stage}.alpha": 0.5, "trainer.max_epochs": 3},
            )
            tested = {key: by_seed[seed] for key, by_seed in numbers.items()}
            complete_stage(folder, tested, files=False)
            folders[stage, seed] = folder
    return list(folders.values())


def compared(mlruns: Path) -> None:
    """A teacher, the baseline, a student that is better in much, one that is better in one thing, and its twin."""
    values = {"teacher": TEACHER, "baseline": BASELINE, "student": BETTER, "slight": SLIGHTLY, "joint": SLIGHTLY}
    folders = stages(mlruns, values, student="teacher", slight="teacher", joint="teacher")
    largest = {"class": "benign", "share": 0.632}
    write_execution(mlruns, folders, data={"largest": largest})


def one_seed(mlruns: Path) -> None:
    """One seed tells nothing from noise."""
    single = {name: {key: numbers[:1] for key, numbers in values.items()} for name, values in COMPARED.items()}
    write_execution(mlruns, stages(mlruns, single, student="teacher", slight="teacher"))


COMPARED = {"teacher": TEACHER, "baseline": BASELINE, "student": BETTER, "slight": SLIGHTLY}


def two_teachers(mlruns: Path) -> None:
    """Two teachers by other names, of which one is trained with every seed, and no baseline."""
    ensemble = {**TEACHER, "test/accuracy": (0.90, 0.92, 0.91)}
    repeated = {key: numbers * 3 if len(numbers) == 1 else numbers for key, numbers in ensemble.items()}
    values = {"large": TEACHER, "forest": repeated, "student": BETTER, "slight": SLIGHTLY}
    write_execution(mlruns, stages(mlruns, values, student="large", slight="forest"))


def fixed_teachers(mlruns: Path) -> None:
    """Two teachers that were trained once each, and a baseline."""
    values = {"large": TEACHER, "wide": TEACHER, "baseline": BASELINE, "student": BETTER, "slight": SLIGHTLY}
    write_execution(mlruns, stages(mlruns, values, student="large", slight="wide"))


def unfinished(mlruns: Path) -> None:
    """One seed of the student is not finished, one stage has not begun to be tested; the execution was stopped."""
    folders = stages(mlruns, {"teacher": TEACHER, "baseline": BASELINE, "student": BETTER}, student="teacher")
    for file in ("done.json", "test-e1.json"):
        (folders[-1] / file).unlink()
    late = begin_stage(mlruns, "late", 0, teacher=folders[0].name)
    write_execution(mlruns, [*folders, late], status="KILLED")


def damaged(mlruns: Path) -> None:
    """The weights of one seed are gone, and its data were known by their settings alone."""
    folders = stages(mlruns, {"teacher": TEACHER, "baseline": BASELINE, "student": BETTER}, student="teacher")
    (folders[2] / "model.safetensors").unlink()
    write_execution(mlruns, folders, status="FAILED")


def undefined(mlruns: Path) -> None:
    """A score that is not a number in two of three seeds, intervals that pass the ends of the scale, large numbers."""
    changed = {
        **BETTER,
        "test/explanation/deletion_auc": (math.nan, 0.3, math.nan),
        "test/accuracy": (0.50, 0.99, 0.98),
        "cost/parameters": (1_234_567.0,) * 3,
        "cost/latency_ms": (123.4, 0.001, 12.0),
    }
    folders = stages(mlruns, {"teacher": TEACHER, "baseline": BASELINE, "student": changed}, student="teacher")
    write_execution(mlruns, folders, reused=True)


def everything(mlruns: Path) -> None:
    """All columns and costs, figures and rules, what is known of the run, names that mean something to HTML."""
    keys = (*(column.key for column in COLUMNS), *COSTS, "cost/of_somebodys")
    whole = (
        "cost/parameters",
        "cost/flops",
        "cost/bytes",
        "cost/prediction_memory_bytes",
        "cost/training_memory_bytes",
    )
    own = {key: tuple((2e6 if key in whole else 0.5) * (1 + 0.02 * seed) for seed in range(3)) for key in keys}
    raised = {key: tuple(value * 1.1 for value in numbers) for key, numbers in own.items()}
    folders: list[Path] = []
    for seed in range(3):
        for stage, values, kind in (("first|<i>", own, "Supervised"), ("second", raised, "Joint")):
            folder = begin_stage(mlruns, stage, seed, kind=kind, parameters=PARAMETERS[kind])
            tested = {key: numbers[seed] for key, numbers in values.items()}
            complete_stage(folder, tested, epochs=3 + seed, evaluation="e2")
            folders.append(folder)
    started = begin_stage(mlruns, "started", 0, kind="Supervised", parameters={})
    record = json.loads((started / "stage.json").read_text())
    (started / "stage.json").write_text(json.dumps(record | {"start": folders[0].name, "unknown_data": "Theirs"}))
    complete_stage(started, {"test/accuracy": 0.5}, evaluation="e2")
    known = {"command": "kdlab run a|b.yaml", "commit": "c0ffee", "machine": "2 cores", "version.torch": "2.13.0"}
    write_execution(
        mlruns, [started, *folders], evaluation="e2", experiment="<b>all</b>", reused=True, provenance=known
    )


PARAMETERS: dict[str, dict[str, Any]] = {
    "Supervised": {"same": 1, "first|<i>.rate": 0.1, "second.rate": 0.3, "long": "x" * 200, "none": None},
    "Joint": {"same": 1, "second.rate": 0.2, "long": "y" * 40, "list": [1, 2]},
}


def nothing(mlruns: Path) -> None:
    """A teacher alone, which has not been tested."""
    write_execution(mlruns, [begin_stage(mlruns, "teacher", kind="Supervised")], status="RUNNING")


SCENES: dict[str, Callable[[Path], None]] = {
    scene.__name__: scene
    for scene in (compared, one_seed, two_teachers, fixed_teachers, unfinished, damaged, undefined, everything, nothing)
}


def told(mlruns: Path) -> str:
    """The Markdown, the terminal's table and the page's words."""
    made = report(mlruns)
    with io.StringIO() as terminal:
        Console(file=terminal, width=110, color_system=None).print(made.table)
        shown = "\n".join(line.rstrip() for line in terminal.getvalue().splitlines())
    page = re.sub(r"<(style|svg)\b.*?</\1>", r"<\1/>", made.html.read_text(), flags=re.DOTALL)
    bold = re.findall(r"<b>(.*?)</b>", page, flags=re.DOTALL)
    words = re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]+>", "\n", page)).strip()
    parts = [made.markdown.read_text(), "=" * 80, shown, "=" * 80, f"bold: {', '.join(bold)}", "=" * 80, words]
    return "\n".join(parts).replace(str(mlruns), "MLRUNS") + "\n"


@pytest.mark.parametrize("scene", SCENES)
def test_the_report_says_what_it_said(scene: str, tmp_path: Path) -> None:
    SCENES[scene](tmp_path / "mlruns")
    answer, file = told(tmp_path / "mlruns"), RECORDED / f"{scene}.txt"
    if os.environ.get("KDLAB_RECORD"):
        file.write_text(answer, encoding="utf-8")
    assert answer == file.read_text(encoding="utf-8")


def test_each_recording_has_a_scene() -> None:
    assert {file.stem for file in RECORDED.iterdir()} == set(SCENES)
