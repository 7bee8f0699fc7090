import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlab.__main__ import main
from kdlab.commands import experiments
from kdlab.commands.plans import lines
from kdlab.configuration.experiment import Experiment, read, read_outline
from kdlab.errors import ConfigurationError, StageError
from kdlab.records.stage_folder import StageFolder
from kdlab.records.stage_records import StageRecord
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.configuration.examples import write
from tests.stage_folders import done

LIGHT = """
import sys
from kdlab.__main__ import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code or 0
heavy = {"torch", "lightning", "mlflow", "numpy"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


def alone(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", LIGHT, *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "change", "code"),
    [
        (["--help"], ("", ""), 0),
        (["run", "--help"], ("", ""), 0),
        (["run", "nofile.yaml"], ("", ""), 2),
        (["run", "FILE"], ("seeds: [0, 1]", "seeds: [0, 1"), 2),
        (["run", "FILE"], ("trainer:", "trian:"), 2),
        (["run", "FILE"], ("teacher: teacher", "teacher: techer"), 2),
        (["run", "FILE"], ("SoftTargets", "SoftTarget"), 2),
        (["run", "FILE", "--only", "studnet"], ("", ""), 2),
        (["run", "FILE", "--set", "studnet.alpha=1"], ("", ""), 2),
    ],
)
def test_what_needs_no_types_is_answered_without_heavy_imports(
    command: list[str], change: tuple[str, str], code: int, tmp_path: Path
) -> None:
    file = str(write(tmp_path, change))
    done = alone(*(file if word == "FILE" else word for word in command))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_there_at_once() -> None:
    # The best of three: other processes may hold the processor for a moment.
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        alone("--help")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0


def test_show_prints_an_experiment_with_all_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(write(tmp_path)), "--set", "student.alpha=0.3", "seed=1"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seeds"] == [1]
    assert shown["stages"]["student"]["module"]["class_path"] == "kdlab.modules.distilled.Distilled"
    assert shown["stages"]["student"]["module"]["init_args"]["alpha"] == 0.3


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Experiment, Options]]:
    """What ``run`` is called with, in its place."""
    calls: list[tuple[Experiment, Options]] = []

    def take(command: object) -> None:
        calls.append(experiments.opened(command))  # type: ignore[arg-type]  # argparse's namespace

    monkeypatch.setattr(experiments, "run", take)
    return calls


def test_choices_reach_the_runner(tmp_path: Path, asked: list[tuple[Experiment, Options]]) -> None:
    command = ["run", str(write(tmp_path)), "--only", "student", "--only", "joint,baseline", "--fresh", "student"]
    command += ["--devices", "2", "--accelerator", "cpu", "--seeds", "1 2", "--mlruns", str(tmp_path), "--quick"]
    assert main(command) == 0
    experiment, options = asked[0]
    assert options.only == ("student", "joint", "baseline")
    assert options.fresh == ("student",)
    assert (options.devices, options.accelerator, options.quick) == (2, "cpu", True)
    assert options.mlruns == tmp_path
    assert experiment.seeds == [1, 2]
    assert experiment.trainer_arguments("student") == {"max_epochs": 1}


@pytest.mark.parametrize(("text", "seeds"), [("3", [0, 1, 2]), ("4,", [4]), ("0,5", [0, 5]), ("2 1", [2, 1])])
def test_seeds_are_named_or_counted(
    text: str, seeds: list[int], tmp_path: Path, asked: list[tuple[Experiment, Options]]
) -> None:
    assert main(["run", str(write(tmp_path)), "--seeds", text]) == 0
    assert asked[0][0].seeds == seeds


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigurationError("one\nline"), 2, "kdlab: error: one line\n"),
        (ValueError("NaN in\ncolumn x"), 2, "kdlab: error: NaN in column x  (--debug shows where)\n"),
        (KeyError("no layer"), 2, "kdlab: error: no layer  (--debug shows where)\n"),
        (KeyboardInterrupt(), 130, "kdlab: stopped"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(command: object) -> None:
        raise error

    monkeypatch.setattr(experiments, "show", fail)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(["show", str(write(tmp_path))]) == code
    assert capfd.readouterr().err.startswith(said)


def test_a_defect_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: object) -> None:
        raise AttributeError("a defect")

    monkeypatch.setattr(experiments, "show", fail)
    with pytest.raises(AttributeError):
        main(["show", str(write(tmp_path))])


class Planned:
    def __init__(self, stage: str, seed: int, path: Path, trained: bool = False, tested: bool = False) -> None:
        self.stage, self.seed, self.trained, self.tested = stage, seed, trained, tested
        self.folder = StageFolder(path)


def test_a_plan_says_why_and_for_how_long(tmp_path: Path) -> None:
    old: dict[str, Any] = {"experiment": "e", "stage": "student", "seed": 0, "created": 1, "config": {}, "kind": "S"}
    (tmp_path / "old").mkdir()
    record = StageRecord(fingerprint="old", parameters={"student.alpha": 0.5}, **old)
    record.write(tmp_path / "old")
    done(seconds=300.0).write(tmp_path / "old")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "stage.json").write_text("{")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "resume.ckpt").touch()
    planned = [
        Planned("teacher", 0, tmp_path / "done", trained=True, tested=True),
        Planned("teacher", 0, tmp_path / "done", trained=True),
        Planned("student", 0, tmp_path / "new"),
        Planned("student", 1, tmp_path / "new"),
        Planned("student", 2, tmp_path / "begun"),
        Planned("joint", 0, tmp_path / "new"),
    ]
    parameters = {"teacher": {}, "student": {"student.alpha": 0.3}, "joint": {}}
    said = [line.split("  ")[-1] for line in lines(planned, parameters, "e", tmp_path)]
    assert said == [
        "reused",
        "reused, tested again: its evaluation changed or never ended",
        "trained: student.alpha 0.5 -> 0.3, about 5 min",
        "trained: this seed is new, about 5 min",
        "goes on where it stopped, about 5 min",
        "trained: new",
    ]
    assert next(lines(planned[2:3], {"student": {"student.alpha": 0.5}}, "e", tmp_path)).endswith(
        "trained: its teacher, code, data, weights, a file that it names, a library or its monitor's metric changed, "
        "about 5 min"
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run", "FILE", "--only", ""], "argument --only: expected the name of a stage, got ''"),
        (["run", "FILE", "--only", " , "], "argument --only: expected the name of a stage"),
        (["run", "FILE", "--fresh", ""], "argument --fresh: expected the name of a stage"),
        (["ui", "--port", "99999"], "argument --port: expected a port from 1 to 65535, got '99999'"),
        (["ui", "--port", "0"], "argument --port: expected a port"),
        (["ui", "--port", "-1"], "argument --port: expected"),
        (["ui", "--port", "http"], "argument --port: expected a port"),
        (["dashboard", "FILE", "--port", "65536"], "argument --port: expected a port"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_in_one_line(
    command: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        main([file if word == "FILE" else word for word in command])
    printed = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("seeds: [0, 1]", f"name: {'n' * 300}\nseeds: [0, 1]"),
            "name: the name 'nnnnnnnnnnnnnnnnnnnn'… has 300 bytes",
        ),
        (("seeds: [0, 1]", f"name: {'ü' * 51}\nseeds: [0, 1]"), "name: the name .* has 102 bytes"),
        (("  baseline:", f"  {'s' * 300}:"), "the name 'ssssssssssssssssssss'… has 300 bytes"),
        (("max_epochs: 2", "max_epochs: -1"), "-1 lets 'student' train for ever"),
    ],
)
def test_names_and_lengths_that_could_fail_only_after_training_are_refused_at_reading(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_outline(write(tmp_path, change))


@pytest.mark.parametrize(
    "setting",
    ["max_epochs: -3", "max_epochs: 2, limit_train_batches: -1", "max_epochs: 2, gradient_clip_algorithm: no"],
)
def test_what_lightning_refuses_is_said_with_the_stages_name_before_anything_trains(
    setting: str, tmp_path: Path
) -> None:
    changes = [("max_epochs: 2", setting), ("  student:\n", "  student:\n    trainer: {deterministic: false}\n")]
    experiment = read(write(tmp_path, *changes))
    with pytest.raises(StageError, match="stage 'teacher': Lightning's Trainer refuses its settings"):
        run(experiment, Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    assert not list((tmp_path / "mlruns" / "stages").glob("*/*"))
