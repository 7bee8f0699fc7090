"""Running an experiment: its stages in order, each reused, resumed or trained, and everything tracked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kdlab.configuration.experiment import Experiment
from kdlab.data.contents import contents, in_one_line, remarks_of
from kdlab.errors import StageError
from kdlab.records.executions import Status, settle_killed
from kdlab.records.files import make_folder, scratch_beside
from kdlab.report.report import Report, report
from kdlab.stages.context import Context
from kdlab.stages.execution import execution
from kdlab.stages.graph import StageNode
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse_stages

#: A remark is made if evaluation took more than this share of a stage's training time.
EVALUATION_SHARE = 0.25
#: A remark is made only about stages that trained for more than this many seconds, all seeds together.
WORTH_SAVING = 30.0


@dataclass
class Outcome:
    """The result of an execution: its id, its nodes, the report, and MLflow's page that compares the runs, or None."""

    execution: str
    nodes: list[StageNode]
    report: Report
    link: str | None


def run(experiment: Experiment, options: Options, testing: bool = True) -> Outcome:
    """Train and test every stage, reusing what is finished, and track it; return what was done.

    Args:
        experiment: the experiment as it was read.
        options: the options of this execution.
        testing: whether the stages are tested after training.

    Raises:
        ConfigurationError: If something does not fit, if possible before anything trains.
        Interrupted: At Ctrl-C or SIGTERM; the same call continues from there.
    """
    check_writable(options.mlruns)
    settle_killed(options.mlruns)
    check_accelerator(options)
    context = Context(experiment, options)
    held = contents(context.data)
    for line in (in_one_line(experiment.name, context.data, held), *remarks_of(context.data)):
        print(line, flush=True)
    nodes = context.plan()
    untrained = [node for node in nodes if not node.trained or node.stage in options.fresh]
    rehearse_stages(context, list(dict.fromkeys(node.stage for node in untrained)))
    with execution(context, nodes, data=held) as current:
        for node in nodes:
            current.complete(node, testing)
    remark = remark_on_evaluation(
        [node for node, use in zip(nodes, current.record.uses, strict=True) if not use.reused]
    )
    if remark is not None:
        print(remark, flush=True)
    written = report(options.mlruns, experiment.name, current.record.id)
    current.tracker.end(Status.FINISHED, written.summary, [written.html, written.markdown])
    return Outcome(current.record.id, nodes, written, current.tracker.link())


def remark_on_evaluation(trained: Sequence[StageNode]) -> str | None:
    """Return a line if scoring took more than a quarter of a stage's training time, else None."""
    seconds: dict[str, tuple[float, float]] = {}
    for node in trained:
        done = node.folder.done
        if done is not None:
            scored, whole = seconds.get(node.stage, (0.0, 0.0))
            seconds[node.stage] = (scored + done.evaluation_seconds, whole + done.seconds)
    shares = {stage: scored / whole for stage, (scored, whole) in seconds.items() if whole > WORTH_SAVING}
    costly = [f"{stage} {share:.0%}" for stage, share in shares.items() if share > EVALUATION_SHARE]
    if not costly:
        return None
    return (
        f"evaluation took much of the training time ({', '.join(costly)}); a larger evaluate.every, a smaller "
        f"evaluate.probe or fewer evaluate.metrics would save most of it, and nothing is trained again for that"
    )


def check_writable(mlruns: Path) -> None:
    """Raise a StageError if the folder cannot be written to."""
    try:
        make_folder(mlruns / "stages")
        with scratch_beside(mlruns / "stages" / "probe"):
            pass
    except OSError as error:
        raise StageError(f"cannot write to {mlruns} ({error.strerror}); choose another folder with MLRUNS=…") from error


def check_accelerator(options: Options) -> None:
    """Raise a StageError if a GPU is asked for and there is none."""
    if options.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise StageError("a GPU was asked for, and torch sees none here; use --accelerator cpu, or auto")
