"""What kdlab prints and leaves behind is what was recorded.

``KDLAB_RECORD=1 pytest tests/behaviour`` records anew; the difference in ``recorded/`` is for a person to read.
"""

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.behaviour.masks import ROOT, Masks
from tests.behaviour.tree import files_of, fingerprints_of, runs_of
from tests.behaviour.wrong import wrong

HERE = Path(__file__).parent
RECORDED = HERE / "recorded"
COMMANDS = (
    "run", "plan", "rehearse", "show", "sweep", "worker", "sweep-report", "clean", "dashboard", "list", "look",
    "report", "ui",
)  # fmt: skip
HELP = ["--help", *(f"{command} --help" for command in COMMANDS)]
ONCE = [
    "show behaviour.yaml --quick",
    "plan behaviour.yaml",
    "rehearse behaviour.yaml",
    "run behaviour.yaml --only joint --seeds 1",
    "run behaviour.yaml --only joint --seeds 1",
    "plan behaviour.yaml --set joint.alpha=0.5",
    "plan behaviour.yaml --only joint --set evaluate.probe=4",
    "report behaviour.yaml",
    "clean",
    "list",
]
SHARED = [
    "plan behaviour.yaml",
    "run behaviour.yaml --workers 2",
    "run behaviour.yaml",
    "run behaviour.yaml --only student --quick --seeds 1",
    "run behaviour.yaml --only baseline --seeds 1 --fresh baseline --set evaluate.probe=4",
    "plan behaviour.yaml",
    "report behaviour.yaml",
    "clean",
]
SWEPT = [
    "sweep behaviour.sweep.yaml --workers 1",
    "sweep behaviour.sweep.yaml --workers 1 --untested",
    "sweep-report behaviour.sweep.yaml",
    "plan behaviour.yaml",
    "clean --trials",
]
#: Of the classes that ``kdlab list`` shows, these stand for all.
LISTED = ("Digits(", "SoftTargets(")


def answered(project: Path, commands: list[str]) -> dict[str, Any]:
    """What commands answer in a folder with the experiment and its sweep."""
    for file in HERE.glob("*.yaml"):
        shutil.copy(file, project)
    (project / "commands.json").write_text(json.dumps([shlex.split(command) for command in commands]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KDLAB", "MLFLOW", "RAY"))}
    steady = {"COLUMNS": "400", "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    steady |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "TZ": "UTC", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(HERE / "commands.py"), "commands.json", "answers.json"],
        cwd=project, env=kept | steady, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads((project / "answers.json").read_text())
    return answers


def transcript(answers: list[dict[str, Any]], masks: Masks) -> str:
    """The commands and what they printed, as a terminal would show it; ``!`` is the standard error."""
    parts = []
    for answer in answers:
        printed = said(answer, masks).rstrip("\n")
        errors = "".join(f"! {line}\n" for line in masks.printed(answer["stderr"]).splitlines())
        command = masks.text(shlex.join(["kdlab", *answer["command"]]))
        parts.append(f"$ {command}\n{printed + chr(10) if printed else ''}{errors}= {answer['code']}\n")
    return "\n".join(parts)


def said(answer: dict[str, Any], masks: Masks) -> str:
    """What a command printed; of what a library or another family decides, only its form."""
    command, text = answer["command"], answer["stdout"]
    if command[:1] == ["show"] and "stages:" in text:
        return experiment(text, masks)
    if command == ["list"]:
        return "".join(f"{line}\n" for line in text.splitlines() if line.strip().startswith(LISTED) or line[0] != " ")
    text = masks.printed(text)
    # Who trained it, the run or its assistant, is a matter of time.
    shared = command[:1] == ["run"] and "--workers" in command
    return re.sub(r"(?<=seed \d: ).*$", "done", text, flags=re.MULTILINE) if shared else text


def experiment(text: str, masks: Masks) -> str:
    """A resolved experiment without what a library decides; the comments above it stay."""
    comments = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("#"))
    return masks.text(comments) + yaml.safe_dump(masks.record(yaml.safe_load(text), ("config",)), sort_keys=False)


def differences(name: str, value: object) -> list[str]:
    """How this differs from what was recorded; where that is asked for, it is recorded."""
    text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    file = RECORDED / name
    if os.environ.get("KDLAB_RECORD"):
        file.write_text(text)
    before = file.read_text().splitlines()
    return list(difflib.unified_diff(before, text.splitlines(), f"recorded/{name}", "now", lineterm="", n=1))


def check(name: str, project: Path, answers: dict[str, Any]) -> None:
    """Compare all that commands said and left."""
    masks, mlruns = Masks(project), project / "mlruns"
    recorded = {
        "txt": transcript(answers["answers"], masks),
        "files.json": files_of(mlruns, masks),
        "fingerprints.json": fingerprints_of(answers["hashed"], mlruns, masks),
        "runs.json": runs_of(answers["runs"], masks),
    }
    recorded |= {"studies.json": masks.record(answers["studies"])} if answers["studies"] else {}
    best = project / "behaviour.best.yaml"
    recorded |= {"best.txt": experiment(best.read_text(), masks)} if best.exists() else {}
    lines = [line for file, value in recorded.items() for line in differences(f"{name}.{file}", value)]
    assert not lines, "\n".join(lines)


@dataclass
class Quick:
    """What the commands that take little time answered, all of them in one process."""

    project: Path
    help: list[dict[str, Any]]
    wrong: list[dict[str, Any]]
    run: dict[str, Any]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    project = tmp_path_factory.mktemp("project")
    mistakes = wrong(project / "wrong")
    all_of_them = answered(project, [*HELP, *mistakes, *ONCE])
    answers = all_of_them["answers"]
    first, last = len(HELP), len(HELP) + len(mistakes)
    return Quick(project, answers[:first], answers[first:last], {**all_of_them, "answers": answers[last:]})


def test_help_is_as_recorded(quick: Quick) -> None:
    assert {answer["code"] for answer in quick.help} == {0}
    lines = differences("help.txt", transcript(quick.help, Masks(quick.project)))
    assert not lines, "\n".join(lines)


def test_wrong_inputs_are_refused_as_recorded(quick: Quick) -> None:
    assert {answer["code"] for answer in quick.wrong} == {2}
    lines = differences("wrong.txt", transcript(quick.wrong, Masks(quick.project)))
    assert not lines, "\n".join(lines)


def test_an_experiment_is_run_as_recorded(quick: Quick) -> None:
    check("run", quick.project, quick.run)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_share_an_experiment_as_recorded(tmp_path: Path) -> None:
    check("workers", tmp_path, answered(tmp_path, SHARED))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_is_run_as_recorded(tmp_path: Path) -> None:
    check("sweep", tmp_path, answered(tmp_path, SWEPT))
