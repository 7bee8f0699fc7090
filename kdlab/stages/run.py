"""Running an experiment: its stages in order, each reused, resumed or trained, and all of it tracked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import torch
from lightning.pytorch import Callback

from kdlab.configuration.experiment import Experiment
from kdlab.data.base import Known
from kdlab.data.contents import contents, in_one_line
from kdlab.errors import GivenUp, Interrupted, StageError
from kdlab.interruption import terminable
from kdlab.records.files import make_folder, scratch_beside
from kdlab.records.stage_folder import read_json, write_json
from kdlab.report.report import Report, report
from kdlab.stages.job import Job
from kdlab.stages.ledger import Ledger, settle_killed
from kdlab.stages.options import Options
from kdlab.stages.progress import Progress, Show
from kdlab.stages.rehearsal import rehearse_stages
from kdlab.stages.scoring import test
from kdlab.stages.stage_process import train_in_group
from kdlab.stages.training import train
from kdlab.stages.workshop import Planned, Workshop, plans
from kdlab.tracking.tracker import Tracker

#: Evaluation that costs more than this share of a stage's time is worth a remark.
EVALUATION_SHARE = 0.25
#: Seconds of training of a stage, all seeds together, from which on it is worth one.
WORTH_SAVING = 30.0


@dataclass
class Outcome:
    """What an execution did: its id, every stage and seed with its folder, the report, the page that compares them."""

    execution: str
    planned: list[Planned]
    report: Report
    link: str | None


def run(experiment: Experiment, options: Options, testing: bool = True) -> Outcome:
    """Bring every stage to its end, reusing what is done, and track it.

    Raises:
        ConfigurationError: If something does not fit; before anything has trained where it can be known.
        Interrupted: At Ctrl-C or SIGTERM; the same call goes on from there.
    """
    check_writable(options.mlruns)
    settle_killed(options.mlruns)
    check_accelerator(options)
    workshop = Workshop(experiment, options)
    held = contents(workshop.data)
    print(in_one_line(experiment.name, workshop.data, held), flush=True)
    planned = plans(workshop)
    unfinished = list(dict.fromkeys(p.stage for p in planned if not p.trained or p.stage in options.fresh))
    rehearse_stages(workshop, unfinished)
    execution = Ledger(options.mlruns, experiment, data=held)
    execution.uses(planned)
    execution.begin()
    tracker = Tracker(options.mlruns, experiment.name)
    tracker.begin(execution.id, experiment.resolved)
    status = "FAILED"
    try:
        with terminable(), Progress(planned, experiment) as progress:
            for one in planned:
                bring_to_end(workshop, one, tracker, progress.of(one), testing)
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt) as stop:
        status = "KILLED"
        raise Interrupted from stop
    finally:
        execution.end(status)
        if status != "FINISHED":
            tracker.end(status)
    remark = remark_on_evaluation(
        [one for one, was in zip(planned, execution.stages, strict=True) if not was["reused"]]
    )
    if remark is not None:
        print(remark, flush=True)
    written = report(options.mlruns, experiment.name, execution.id)
    tracker.end(status, written.summary, [written.html, written.markdown])
    return Outcome(execution.id, planned, written, tracker.link())


def bring_to_end(
    workshop: Workshop,
    planned: Planned,
    tracker: Tracker,
    show: Show,
    testing: bool,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train and test one stage under its lock, unless somebody already has; the callbacks see its training."""
    folder, options = planned.folder, workshop.options
    with folder.locked() as lock:
        if planned.stage in options.fresh:
            folder.clear()
        if not planned.trained:
            job = begun(workshop, planned)
            status = "FAILED"
            try:
                if options.devices > 1:
                    train_in_group(job, lambda: tracker.sync(folder.path), lock)
                else:
                    train(job, lambda: tracker.sync(folder.path), [show, *callbacks])
                status = "FINISHED"
            except (Interrupted, GivenUp, KeyboardInterrupt):
                status = "KILLED"
                raise
            finally:
                if status != "FINISHED":
                    tracker.finish(folder.path, status)
        folder.tidy()
        if testing and not planned.tested:
            test(workshop.job(planned), planned.evaluation)
    tracker.finish(folder.path)
    show.finished()


def remark_on_evaluation(planned: list[Planned]) -> str | None:
    """A line where scoring took more than a quarter of the training's time; None where it did not."""
    seconds: dict[str, tuple[float, float]] = {}
    for one in planned:
        done = one.folder.done or {}
        before = seconds.get(one.stage, (0.0, 0.0))
        spent = (float(done.get("evaluation_seconds", 0.0)), float(done.get("seconds", 0.0)))
        seconds[one.stage] = (before[0] + spent[0], before[1] + spent[1])
    shares = {stage: scored / whole for stage, (scored, whole) in seconds.items() if whole > WORTH_SAVING}
    costly = [f"{stage} {share:.0%}" for stage, share in shares.items() if share > EVALUATION_SHARE]
    if not costly:
        return None
    return (
        f"evaluation took much of the training time ({', '.join(costly)}); a larger evaluate.every, a smaller "
        f"evaluate.probe or fewer evaluate.metrics would save most of it, and nothing is trained again for that"
    )


def begun(workshop: Workshop, planned: Planned) -> Job:
    """What is to be trained, its folder ready: with the checkpoint to go on from, or as if nothing had been."""
    folder, job = planned.folder, workshop.job(planned)
    if folder.fault is not None:
        print(f"{planned.stage} seed {planned.seed}: {folder.fault}; it is trained again", flush=True)
        folder.clear()
    elif not folder.resume.exists():
        folder.restart()
    describe(job, planned)
    return job


def describe(job: Job, planned: Planned) -> None:
    """Write ``stage.json``: what this folder is."""
    path = job.folder.path / "stage.json"
    begun = read_json(path) or {}
    stage = job.experiment.stages[job.stage]
    record = {
        "experiment": job.experiment.name,
        "stage": job.stage,
        "seed": job.seed,
        "fingerprint": job.folder.fingerprint,
        "config": job.experiment.resolved["stages"][job.stage],
        "parameters": job.experiment.parameters(job.stage),
        "teacher": planned.needs[0] if len(planned.needs) == 1 else list(planned.needs) or None,
        "start": planned.start,
        # Data whose content nobody can tell, by the name of their class; the report says so.
        "unknown_data": None if isinstance(job.data, Known) else type(job.data).__name__,
        "kind": str(stage.module["class_path"]).rpartition(".")[2],
        # A stage that goes on is the stage that began: MLflow knows its run by this.
        "created": begun.get("created", time_ns() // 10**6),
    }
    write_json(path, record)


def check_writable(mlruns: Path) -> None:
    """Refuse a folder that cannot be written before anything is done."""
    try:
        make_folder(mlruns / "stages")
        with scratch_beside(mlruns / "stages" / "probe"):
            pass
    except OSError as error:
        raise StageError(f"cannot write to {mlruns} ({error.strerror}); choose another folder with MLRUNS=…") from error


def check_accelerator(options: Options) -> None:
    """Refuse a GPU that is not there."""
    if options.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise StageError("a GPU was asked for, and torch sees none here; use --accelerator cpu, or auto")
