"""What a sweep costs beside its training, what a second worker saves, and what a search finds.

    python -m benchmarks.sweeps overhead [--trials 12]            seconds of a trial beyond the training of its stages
    python -m benchmarks.sweeps workers [--trials 24] [--crew 2]  the same sweep with one worker and with several
    python -m benchmarks.sweeps gain BEST.yaml SHIPPED.yaml --stage student --seeds 20,21,22,23,24

Sweeps run as a user starts them, in a folder of their own each. `gain` trains both experiments' stage with seeds that
neither the search nor the experiment used, and compares the validation metric at the chosen epochs, seed by seed.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import machine
from kdlab.configuration.experiment import read
from kdlab.records.stage_folder import StageFolder
from kdlab.records.stage_records import Done
from kdlab.report.statistics import Estimate, compare, estimate
from kdlab.stages.options import Options
from kdlab.stages.run import run
from kdlab.sweep.study import STAGES, load
from kdlab.sweep.study_place import place_of

SWEEP = Path("experiments/digits.sweep.yaml")


def overhead(asked: argparse.Namespace, console: Console) -> None:
    """One worker: a trial's wall time less that of its stages' training, which includes their evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        found, _ = sweep(asked.file, asked.trials, 1, Path(folder))
        trials = [trial for trial in found if trial.state == TrialState.COMPLETE]
        # The first trial trains the teacher, and reads the data for all others.
        beyond = [seconds(trial) - trained(trial, Path(folder), before=trials[:at]) for at, trial in enumerate(trials)][
            1:
        ]
        whole = [seconds(trial) for trial in trials[1:]]
    console.print(f"{asked.file}, one worker, {len(beyond)} trials after the first, {machine('optuna', 'mlflow')}")
    console.print(f"a trial takes {_spread(whole)} s, of which beyond training {_spread(beyond)} s (median, range)")


def workers(asked: argparse.Namespace, console: Console) -> None:
    """The time of the whole command, teacher and start-up included, with one worker and with several."""
    table = Table("workers", "seconds", "completed", "pruned", "failed", "by the time of one", title=machine("optuna"))
    alone = 0.0
    for crew in (1, asked.crew):
        with tempfile.TemporaryDirectory() as folder:
            trials, took = sweep(asked.file, asked.trials, crew, Path(folder))
        states = [trial.state for trial in trials]
        ended = [sum(state == s for state in states) for s in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)]
        alone = alone or took
        table.add_row(str(crew), f"{took:.0f}", *map(str, ended), f"{took / alone:.2f}")
    console.print(table)


def gain(asked: argparse.Namespace, console: Console) -> None:
    """The best configuration's stage against the shipped one's, on validation, paired by seed."""
    options = Options(only=(asked.stage,), seeds=tuple(asked.seeds), mlruns=asked.mlruns.resolve())
    found = [chosen(file, asked.stage, options) for file in (asked.best, asked.shipped)]
    difference = compare(*found)
    table = Table("experiment", f"{asked.stage}, validation at the chosen epoch", title=machine())
    for file, values in zip((asked.best, asked.shipped), found, strict=True):
        table.add_row(file.name, _interval(estimate(list(values.values()))))
    if difference is not None:
        table.add_row("difference", f"{_interval(difference.estimate)}, {_significance(difference.p)}")
    console.print(table)


def sweep(file: Path, trials: int, crew: int, mlruns: Path) -> tuple[list[FrozenTrial], float]:
    """Run a sweep as the command line does; its trials, and the seconds that the command took."""
    # A sweep writes its best configuration beside its file, so it gets copies.
    copies = Path(shutil.copytree(file.parent, mlruns / "experiments"))
    command = [sys.executable, "-m", "kdlab", "sweep", str(copies / file.name), "--trials", str(trials)]
    started = time.perf_counter()
    options = ["--workers", str(crew), "--mlruns", str(mlruns), "--untested", "--keep", "all"]
    subprocess.run([*command, *options], check=True)
    took = time.perf_counter() - started
    return load(place_of(file.name.removesuffix(".sweep.yaml"), None, mlruns)).get_trials(), took


def seconds(trial: FrozenTrial) -> float:
    """Wall time of a trial."""
    if trial.duration is None:
        raise ValueError(f"trial {trial.number} has not ended")
    return trial.duration.total_seconds()


def trained(trial: FrozenTrial, mlruns: Path, before: Sequence[FrozenTrial]) -> float:
    """Seconds that the stages of a trial trained which no trial before it had."""
    known = {stage for other in before for stage in other.user_attrs[STAGES]}
    folders = [StageFolder(mlruns / "stages" / stage) for stage in trial.user_attrs[STAGES] if stage not in known]
    return sum(ended(folder).seconds for folder in folders)


def ended(folder: StageFolder) -> Done:
    """How a stage's training ended; it must have."""
    done = folder.done
    if done is None:
        raise ValueError(f"{folder.path} is not finished")
    return done


def chosen(file: Path, stage: str, options: Options) -> dict[int, float]:
    """The monitored value of a stage at its chosen epoch, by seed."""
    outcome = run(read(file, [f"seeds={list(options.seeds or ())}"]), options, testing=False)
    best = {one.seed: ended(one.folder).best for one in outcome.nodes if one.stage == stage}
    return {seed: value for seed, value in best.items() if value is not None}


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _significance(p: float | None) -> str:
    if p is None:
        return "no spread"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def _interval(found: Estimate) -> str:
    half = "" if found.half is None else f" ± {found.half:.4f}"
    return f"{found.mean:.4f}{half} ({found.count} seeds)"


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, measure, trials in (("overhead", overhead, 12), ("workers", workers, 24)):
        kind = kinds.add_parser(name)
        kind.set_defaults(measure=measure)
        kind.add_argument("--file", type=Path, default=SWEEP)
        kind.add_argument("--trials", type=int, default=trials)
        kind.add_argument("--crew", type=int, default=2)
    kind = kinds.add_parser("gain")
    kind.set_defaults(measure=gain)
    kind.add_argument("best", type=Path)
    kind.add_argument("shipped", type=Path)
    kind.add_argument("--stage", default="student")
    kind.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[20, 21, 22, 23, 24]
    )
    kind.add_argument("--mlruns", type=Path, default=Path("mlruns"))
    for kind in kinds.choices.values():
        kind.add_argument("--threads", type=int, help="of torch, in this process and its children")
    asked = parser.parse_args()
    if asked.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(asked.threads)
        torch.set_num_threads(asked.threads)
    asked.measure(asked, Console())


if __name__ == "__main__":
    main()
