"""Commands on sweeps: sweep, worker, sweep-report, clean, dashboard."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from kdlab.commands.experiments import shortened, show_report
from kdlab.commands.launchers import LAUNCHERS
from kdlab.errors import ConfigurationError, Interrupted

if TYPE_CHECKING:
    from optuna import Study

    from kdlab.stages.options import Options
    from kdlab.sweep.definition import Sweep
    from kdlab.sweep.study_place import StudyPlace
    from kdlab.sweep.tracking import SweepRun
    from kdlab.workers.crew import Starter


def sweep(parsed: argparse.Namespace) -> None:
    """Search what a sweep's file names, with as many workers as asked for, and test the best trials.

    Raises:
        ConfigurationError: If the sweep, an option or the study does not fit, or no trial was completed.
    """
    # Imported late, as in all commands, so that the others need not load torch and Optuna.
    from kdlab.records.executions import Status, settle_killed
    from kdlab.stages.run import check_accelerator, check_writable
    from kdlab.sweep.check import check_sweep
    from kdlab.sweep.keeping import keep_count
    from kdlab.sweep.study import join
    from kdlab.sweep.tracking import SweepRun
    from kdlab.sweep.trial import sweep_name

    keep_count(parsed.keep)  # refused at once if it is wrong, not after the search
    definition, place, options = opened(parsed)
    check_writable(options.mlruns)
    settle_killed(options.mlruns, definition.path.parent)  # the best configuration is written beside the sweep
    with LAUNCHERS[parsed.launcher](parsed, definition, place) as starter:
        if not starter.here and options.accelerator == "gpu":
            # The cluster's nodes have GPUs, but this machine, which trains the finalists, may have none.
            options = replace(options, accelerator="auto")
        check_accelerator(options)
        study = join(definition, place, check_sweep(definition, options))
        parent = SweepRun(place, sweep_name(definition))
        parent.open()
        status = Status.FAILED
        try:
            _launch(parsed, definition, place, study, starter, parent.id)
            status = Status.FINISHED
        except Interrupted:
            status = Status.KILLED
            raise
        finally:
            # After a whole search it stays open, for ``conclude`` to add the results.
            if status != Status.FINISHED:
                parent.close(status, {})
    conclude(parsed, definition, place, study, options, parent)


def _launch(
    parsed: argparse.Namespace,
    definition: "Sweep",
    place: "StudyPlace",
    study: "Study",
    starter: "Starter",
    parent: str | None,
) -> None:
    from kdlab.sweep.progress import SweepProgress
    from kdlab.sweep.study import good
    from kdlab.workers.crew import Crew, arguments

    # A time limit without --trials stands in place of the file's number of trials.
    target = None if parsed.timeout and parsed.trials is None else parsed.trials or definition.trials
    until = None if parsed.timeout is None else time.time() + parsed.timeout
    if target is not None and good(study) >= target:
        print(f"the study {place.name!r} has its {target} trials; ask for more with --trials", flush=True)
        return
    repeated: Mapping[str, object] = {
        "set": parsed.set,
        "quick": parsed.quick,
        "study": place.name,
        "mlruns": place.mlruns,
        "accelerator": parsed.accelerator,
        "keep": parsed.keep,
        "trials": target,
        "until": until,
        "parent": parent,
        "launched": True,
        "debug": parsed.debug,
    }
    command = ["kdlab", "worker", str(definition.path), *arguments(repeated)]
    workers = starter.workers
    print(f"study {place.name!r} in {place.shown}, {workers} {'worker' if workers == 1 else 'workers'}", flush=True)
    with SweepProgress(study, definition, target, workers) as progress:
        Crew(command, starter, place.folder, lambda: good(study)).run(progress.look)
        progress.look()


def conclude(
    parsed: argparse.Namespace,
    definition: "Sweep",
    place: "StudyPlace",
    study: "Study",
    options: "Options",
    parent: "SweepRun",
) -> None:
    """Write the best configuration, test it on all seeds, and write the sweep's page.

    Args:
        parsed: the options of the command line.
        definition: the sweep.
        place: where the study and its results are.
        study: the study, whose trials are done.
        options: the options of an execution.
        parent: the sweep's own run in MLflow, which is closed here.

    Raises:
        ConfigurationError: If no trial was completed.
    """
    from kdlab.records.executions import Status, settle_killed
    from kdlab.sweep.best import finalists, test_finalists, write_best
    from kdlab.sweep.keeping import free_lesser, keep_count
    from kdlab.sweep.page import summary, write_page
    from kdlab.sweep.ranking import front

    settle_killed(place.mlruns)  # some workers may have died while others went on
    best = finalists(study, parsed.finalists or (3 if len(definition.objectives) > 1 else 1))
    if not best:
        parent.close(Status.FINISHED, {})
        raise ConfigurationError(f"no trial of the study {place.name!r} was completed; give it more time or trials")
    path = write_best(definition, study, place, best[0])
    metrics = {f"best/{o.name}": v for o, v in zip(definition.objectives, best[0].values, strict=True)}
    metrics |= {"trials": float(len(study.get_trials(deepcopy=False))), "front": float(len(front(study)))}
    page = write_page(definition, study, place)
    parent.close(Status.FINISHED, metrics, summary(definition, study), [page, path], best[:1])
    # Once more, because the last trials were kept until MLflow had them, and a kill may have left half of one.
    free_lesser(study, place, keep_count(parsed.keep))
    print(f"sweep report: {shortened(page)}\nbest configuration: {shortened(path)}", flush=True)
    if not parsed.untested:
        # Trials train only the stages that the sweep names; the test is of the whole experiment.
        everything = replace(options, only=())
        for outcome in test_finalists(definition, study, place, everything, best):
            show_report(outcome.report, outcome.link)


def worker(parsed: argparse.Namespace) -> None:
    """Take trials of a study, one after the other. ``kdlab sweep`` starts workers, and a cluster may start some too."""
    from kdlab.records.executions import settle_killed
    from kdlab.sweep.check import check_sweep
    from kdlab.sweep.keeping import keep_count
    from kdlab.sweep.study import join
    from kdlab.sweep.tracking import close_abandoned
    from kdlab.sweep.trial import Trials
    from kdlab.sweep.worker import Target, die_with_parent, work

    if parsed.launched:
        die_with_parent()
    definition, place, options = opened(parsed)
    if not parsed.launched:  # ``kdlab sweep`` has done this for the workers that it starts
        settle_killed(place.mlruns)
        join(definition, place, check_sweep(definition, options))
    until = parsed.until
    if until is None and parsed.timeout is not None:
        until = time.time() + parsed.timeout
    # The launcher has read the file's number already: for its workers, no --trials means no limit.
    trials = parsed.trials if parsed.launched or parsed.timeout else parsed.trials or definition.trials
    try:
        work(
            definition,
            place,
            Trials(definition, place, options, parsed.parent),
            Target(trials, until, keep_count(parsed.keep)),
        )
    finally:
        close_abandoned(place.mlruns)  # the launcher that should close the sweep's run may have been killed


def report(parsed: argparse.Namespace) -> None:
    """Write the page of a study again, with the trials that it has now."""
    from kdlab.records.executions import settle_killed
    from kdlab.sweep.page import write_page
    from kdlab.sweep.study import load
    from kdlab.sweep.tracking import close_abandoned

    definition, place, _ = opened(parsed)
    settle_killed(place.mlruns)
    close_abandoned(place.mlruns)
    print(f"sweep report: {shortened(write_page(definition, load(place), place))}")


def opened(parsed: argparse.Namespace) -> "tuple[Sweep, StudyPlace, Options]":
    """Return the sweep that a command names, the place of its study, and the options of its trials.

    Raises:
        ConfigurationError: If the sweep, an override or the storage is wrong.
    """
    from kdlab.sweep.definition import read_sweep
    from kdlab.sweep.study_place import place_of
    from kdlab.sweep.trial import options_for

    definition = read_sweep(parsed.file, parsed.set, parsed.quick)
    place = place_of(parsed.study or definition.name, parsed.storage, parsed.mlruns)
    return definition, place, options_for(place.mlruns, parsed.accelerator, definition.stages, parsed.quick)


def clean(parsed: argparse.Namespace) -> None:
    """Print what no finished execution refers to and what was deleted in MLflow, and delete it if asked."""
    from kdlab.records.cleaning import Leftover, leftovers
    from kdlab.records.executions import settle_killed
    from kdlab.sweep.deleted_runs import DeletedRun, deleted_runs, purge

    mlruns = parsed.mlruns.resolve()
    settle_killed(mlruns)
    freeable, deleted = list(leftovers(mlruns, parsed.trials, parsed.caches)), deleted_runs(mlruns)
    shown: list[Leftover | DeletedRun] = [*freeable, *deleted]
    for thing in shown:
        print(f"{_bytes(thing.size):>10}  {shortened(thing.path)}  {thing.why}")
    if not shown:
        print("nothing to free")
    elif parsed.free:
        print(f"freed {_bytes(sum(leftover.free() for leftover in freeable) + purge(mlruns, deleted))}")
    else:
        print(f"{_bytes(sum(thing.size for thing in shown))} in all; --free deletes them")


def dashboard(parsed: argparse.Namespace) -> None:
    """Serve optuna-dashboard's pages on a study's storage.

    Raises:
        ConfigurationError: If the package is missing, or the server ends with an error.
    """
    import importlib.util
    import subprocess

    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigurationError("the dashboard needs a package: pip install 'kdlab[dashboard]'")
    from kdlab.sweep.definition import ENDING, sweep_path
    from kdlab.sweep.storage import open_storage
    from kdlab.sweep.study_place import place_of

    name = parsed.study or sweep_path(parsed.file).name.removesuffix(ENDING)
    place = place_of(name, parsed.storage, parsed.mlruns)
    open_storage(place)
    # The storage's address may hold a password, so it is passed in the environment.
    code = (
        "import os, sys; from optuna_dashboard._cli import main; "
        "sys.argv.insert(1, os.environ['KDLAB_STORAGE']); main()"
    )
    command = [sys.executable, "-c", code, "--port", str(parsed.port)]
    served = subprocess.run(command, check=False, env={**os.environ, "KDLAB_STORAGE": place.url})
    # Ctrl-C and SIGTERM are the usual ways to end it, and no errors.
    if served.returncode not in (0, 130, -2, -15):
        raise ConfigurationError(
            f"the dashboard ended with exit code {served.returncode}; is port {parsed.port} taken?"
        )


def seconds(text: str) -> float:
    """Return a time such as ``90``, ``90s``, ``30m``, ``2h`` or ``1d`` in seconds.

    Raises:
        argparse.ArgumentTypeError: If it is no such time, or not more than 0.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 30m or 2h, got {text!r}")
    return value


def _bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
