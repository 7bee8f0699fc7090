"""Killed at each of its operations in turn, started again: the end is that of an undisturbed run."""

import argparse
import ast
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

import kdlab.stages.training
from kdlab.commands.sweeps import conclude
from kdlab.configuration.experiment import read
from kdlab.records.executions import settle_killed
from kdlab.stages.options import Options
from kdlab.stages.run import run
from kdlab.sweep.check import check_sweep
from kdlab.sweep.definition import read_sweep
from kdlab.sweep.study import join
from kdlab.sweep.study_place import place_of
from kdlab.sweep.tracking import SweepRun
from kdlab.sweep.trial import Trials, options_for, sweep_name
from kdlab.sweep.worker import Target, work
from kdlab.tracking.store import Store
from tests.experiments import SOFT, STUDENT, stage
from tests.experiments import written as experiment_file
from tests.kills import check_equal, check_nothing_is_left, forked, points_of, stages_of
from tests.sweep.sweeps import ACCURACY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

#: Every so many operations one is killed: 1 takes each of them.
STRIDE = int(os.environ.get("KDLAB_KILL_STRIDE", "3"))
SWEEP_STRIDE = int(os.environ.get("KDLAB_KILL_STRIDE", "13"))


def tiny(folder: Path) -> Path:
    """A teacher and a student who train for two epochs of two steps."""
    data = {"classes": 3, "batch_size": 6, "samples": [12, 6, 6], "shape": [64]}
    return experiment_file(
        folder,
        seeds=[0],
        data={"class_path": "tests.data.made_up.MadeUp", "init_args": data},
        evaluate={},
        stages={
            "teacher": {"module": stage("Supervised", STUDENT)},
            "student": {"teacher": "teacher", "module": stage("Distilled", STUDENT, alpha=1.0, distill=SOFT)},
        },
    )


def enumerate_kills(
    action: Callable[[Path], object],
    folder: Path,
    check: Callable[[Path, Path], object],
    stride: int,
    killed_before: str | None = None,
) -> Counter[str]:
    """Kill an action before each of its operations, run it again each time and check; operations by scene.

    Scenes are counted over all operations: which of them a stride hits depends on when the tracking thread writes. With
    ``killed_before`` it was killed once already, at the first operation of that scene.
    """
    prepared, mlruns, log = folder / "prepared", folder / "mlruns", folder / "log.txt"
    forked(lambda: Store(mlruns).experiment("made_up"), log)  # tables take seconds, and are made once
    shutil.copytree(mlruns, prepared)

    def afresh() -> None:
        shutil.rmtree(mlruns)
        shutil.copytree(prepared, mlruns)

    _, scenes = forked(lambda: action(mlruns), log, kill_at=0)
    shutil.copytree(mlruns, folder / "whole")
    if killed_before is not None:
        first = scenes.index(killed_before) + 1
        afresh()
        assert not forked(lambda: action(mlruns), log, kill_at=first)[0]
        shutil.rmtree(prepared)
        shutil.copytree(mlruns, prepared)
        _, scenes = forked(lambda: action(mlruns), log, kill_at=0)
    kills: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(1, len(scenes) + 1, stride):
        afresh()
        ended, _ = forked(lambda number=number: action(mlruns), log, kill_at=number)  # type: ignore[misc]
        kills[scenes[number - 1]] += not ended
        try:
            forked(lambda: action(mlruns), log)
            check(mlruns, folder / "whole")
        except AssertionError as error:
            faults.append(f"killed before operation {number} ({scenes[number - 1]}): {str(error)[-1500:]}")
            print(faults[-1], flush=True)
    print(f"\n{sum(kills.values())} kills at {len(scenes)} operations: {dict(kills)}")
    assert not faults, f"{len(faults)} of {sum(kills.values())} kills left a trace:\n" + "\n".join(faults)
    # A thread that is done earlier in one run than in another may leave the last ones without one to be killed at.
    assert sum(kills.values()) >= 0.9 * len(range(1, len(scenes) + 1, stride))
    return Counter(scenes)


def test_a_run_killed_at_any_operation_ends_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    path = tiny(tmp_path)

    def action(mlruns: Path) -> Any:
        return run(read(path), Options(mlruns=mlruns, accelerator="cpu"))

    action(tmp_path / "warm")  # all imports, before the first fork
    scenes = enumerate_kills(action, tmp_path, check_equal, STRIDE)
    assert {"soft labels", "training", "finish", "test", "report", "tracking", "executions"} <= scenes.keys()


def test_a_start_killed_while_it_settles_what_a_kill_left_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    path = tiny(tmp_path)

    def action(mlruns: Path) -> Any:
        return run(read(path), Options(mlruns=mlruns, accelerator="cpu"))

    action(tmp_path / "warm")
    scenes = enumerate_kills(action, tmp_path, check_equal, 4 * STRIDE if STRIDE > 1 else 1, killed_before="report")
    assert {"tracking", "executions"} <= scenes.keys()


def test_a_sweep_killed_at_any_operation_has_its_trials_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    tiny(tmp_path)
    search = {"alpha": {"sets": "student.alpha", "float": [0.1, 2.0]}}
    content = {"search": search, "objectives": {"accuracy": ACCURACY}, "start": [{"alpha": 1.5}]}
    path = tmp_path / "made_up.sweep.yaml"
    path.write_text(yaml.safe_dump(content))

    def action(mlruns: Path) -> None:
        asked = argparse.Namespace(finalists=None, untested=True, keep="best:1")
        found = read_sweep(path)
        place = place_of("made_up", None, mlruns)
        options = options_for(place.mlruns, "cpu", found.stages, False)
        settle_killed(mlruns, tmp_path)
        study = join(found, place, check_sweep(found, options))
        parent = SweepRun(place, sweep_name(found))
        parent.open()
        work(found, place, Trials(found, place, options, parent.id), Target(2, keep=1))
        conclude(asked, found, place, study, options, parent)

    def trials(mlruns: Path) -> list[tuple[Any, ...]]:
        storage = f"sqlite:///{mlruns / 'optuna.db'}"
        ended = optuna.load_study(study_name="made_up", storage=storage).get_trials(deepcopy=False)
        assert {trial.state.name for trial in ended} <= {"COMPLETE", "PRUNED", "FAIL"}
        return sorted((t.params["alpha"], t.state.name, t.value) for t in ended if t.state.name != "FAIL")

    def check(mlruns: Path, whole: Path) -> None:
        found: list[list[tuple[Any, ...]]] = []
        for place in (mlruns, whole):
            _, _ = forked(lambda place=place: (tmp_path / "trials").write_text(repr(trials(place))), tmp_path / "log")  # type: ignore[misc]
            found.append(ast.literal_eval((tmp_path / "trials").read_text()))
        assert found[0] == found[1]
        assert len(found[0]) == 2
        stages, expected = stages_of(mlruns), stages_of(whole)
        # Equally good trials are ranked by their numbers, and one that is tried again has another number.
        assert len(stages) == len(expected) == 2
        assert stages.keys() & expected.keys()
        for name in stages.keys() & expected.keys():
            assert stages[name] == expected[name]
        points, statuses = points_of(mlruns)
        assert all(count == 1 for counted in points.values() for count in counted.values())
        assert set(statuses) <= {"FINISHED", "KILLED", "FAILED"}
        check_nothing_is_left(mlruns)
        assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]

    action(tmp_path / "warm")
    scenes = enumerate_kills(action, tmp_path, check, SWEEP_STRIDE)
    assert {"sweep's begin", "sweep's trials", "sweep's end", "training", "tracking"} <= scenes.keys()
