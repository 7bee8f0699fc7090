"""One execution, which is a run of an experiment or a trial of a sweep: its record, its MLflow runs and its end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import time_ns
from typing import Any

from lightning.pytorch import Callback

from kdlab.errors import GivenUp, Interrupted
from kdlab.interruption import terminable
from kdlab.records.executions import Execution, StageUse, Status, new_id
from kdlab.records.stage_records import StageRecord
from kdlab.stages.context import Context
from kdlab.stages.graph import StageNode
from kdlab.stages.progress import Progress
from kdlab.stages.scoring import test
from kdlab.stages.seeded_stage import SeededStage
from kdlab.stages.stage_process import train_in_group
from kdlab.stages.training import train
from kdlab.tracking.courier import Courier
from kdlab.tracking.tracker import Tracker


@dataclass(frozen=True)
class Name:
    """The name of an execution that is not a plain run of its experiment.

    Args:
        experiment: the name of its experiment in MLflow.
        id: unique in ``mlruns``.
        title: the name of its run in MLflow.
        tags: tags of its run in MLflow and of the runs made for it.
    """

    experiment: str
    id: str
    title: str
    tags: Mapping[str, str]


@dataclass
class CurrentExecution:
    """An execution that is under way.

    Attributes:
        context: what the nodes share.
        nodes: the nodes in the order in which they run.
        record: its record in ``mlruns/executions``.
        tracker: reports to MLflow.
        progress: reports to the user.
    """

    context: Context
    nodes: Sequence[StageNode]
    record: Execution
    tracker: Tracker
    progress: Progress

    def complete(self, node: StageNode, testing: bool = True, callbacks: Sequence[Callback] = ()) -> None:
        """Train and test a node unless that was done already, and report it; callbacks take part in its training."""
        folder, fresh = node.folder, node.stage in self.context.options.fresh
        show = self.progress.of(node, reused=node.trained and not fresh)
        with folder.locked() as lock:
            if fresh:
                folder.clear()
            with self._told_if_it_fails(node):
                train_node(self.context, node, lambda: self.tracker.sync(folder.path), [show, *callbacks], lock)
            evaluate_node(self.context, node, testing)
        self.tracker.finish(folder.path)
        show.finished()

    @contextmanager
    def _told_if_it_fails(self, node: StageNode) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Every error, because Ctrl-C and SIGTERM end a stage too.
            self.tracker.finish(node.folder.path, status_after(error))
            raise


@contextmanager
def execution(
    context: Context,
    nodes: Sequence[StageNode],
    name: Name | None = None,
    data: dict[str, Any] | None = None,
    courier: Courier | None = None,
) -> Iterator[CurrentExecution]:
    """Open an execution, and close it with the status of its end; SIGTERM ends it like Ctrl-C.

    If the block succeeds, the caller closes ``tracker``, because only the caller knows what else to add.

    Args:
        context: what the nodes share.
        nodes: the nodes that are run or reused.
        name: None for a plain run.
        data: a description of the data for the record.
        courier: the courier that reports to MLflow, if other executions follow in this process.

    Raises:
        Interrupted: At Ctrl-C or SIGTERM.
    """
    mlruns, experiment = context.options.mlruns, context.experiment
    fresh = context.options.fresh
    record = Execution(
        id=name.id if name else new_id(),
        experiment=name.experiment if name else experiment.name,
        evaluation=experiment.evaluation_hash(),
        uses=[
            StageUse(node.stage, node.seed, node.trained and node.stage not in fresh, node.folder, node.evaluation)
            for node in nodes
        ],
        config=experiment.resolved,
        data=data,
    )
    lease = record.begin(mlruns)
    tracker = Tracker(mlruns, record.experiment, courier=courier)
    tracker.begin(record.id, experiment.resolved, name.tags if name else None, name.title if name else None)
    status = Status.FAILED
    try:
        with terminable(), Progress(nodes, experiment) as progress:
            yield CurrentExecution(context, nodes, record, tracker, progress)
        status = Status.FINISHED
    except BaseException as error:
        status = status_after(error)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted from error
        raise
    finally:
        record.end(mlruns, status, lease)
        if status != Status.FINISHED:
            tracker.end(status)


def status_after(error: BaseException) -> Status:
    """Return KILLED if the user or the system stopped the execution or a sweep gave it up, else FAILED."""
    return Status.KILLED if isinstance(error, Interrupted | GivenUp | KeyboardInterrupt) else Status.FAILED


def train_node(
    context: Context,
    node: StageNode,
    on_commit: Callable[[], None],
    callbacks: Sequence[Callback] = (),
    lock: int | None = None,
) -> None:
    """Train a node, from its checkpoint if there is one, unless that was done; the caller holds its folder's lock.

    Args:
        context: of the execution.
        node: a node whose teachers are finished.
        on_commit: called when the folder has new data that will never be taken back.
        callbacks: for its training; used only if one device trains it.
        lock: descriptor of the lock, which a group of training processes then holds too.
    """
    if node.trained:
        return
    folder, seeded = node.folder, context.seeded_stage(node)
    if folder.fault is not None:
        print(f"{node.stage} seed {node.seed}: {folder.fault}; it is trained again", flush=True)
        folder.clear()
    elif not folder.resume.exists():
        folder.restart()
    describe(seeded, node, content_known=context.data_hash is not None)
    if not context.experiment.by_gradients(node.stage):
        seeded = replace(seeded, options=replace(seeded.options, devices=1))
    if seeded.options.devices > 1 and lock is not None:
        train_in_group(seeded, on_commit, lock)
    else:
        train(seeded, on_commit, list(callbacks))


def evaluate_node(context: Context, node: StageNode, testing: bool = True) -> None:
    """Test a trained node, unless that was done; the caller holds its folder's lock."""
    # A kill right after ``done.json`` was written leaves files that only the training needed.
    node.folder.tidy()
    if testing and not node.tested:
        test(context.seeded_stage(node), node.evaluation)


def describe(seeded: SeededStage, node: StageNode, content_known: bool) -> None:
    """Write ``stage.json``, the description of a stage's folder."""
    earlier = seeded.folder.record
    stage = seeded.experiment.stages[seeded.stage]
    teachers = [teacher.fingerprint for teacher in node.teachers]
    record = StageRecord(
        experiment=seeded.experiment.name,
        stage=seeded.stage,
        seed=seeded.seed,
        fingerprint=seeded.folder.fingerprint,
        config=seeded.experiment.resolved["stages"][seeded.stage],
        parameters=seeded.experiment.parameters(seeded.stage),
        teacher=teachers[0] if len(teachers) == 1 else teachers or None,
        start=None if node.start is None else node.start.fingerprint,
        unknown_data=None if content_known else type(seeded.data.lightning).__name__,
        kind=str(stage.module["class_path"]).rpartition(".")[2],
        created=time_ns() // 10**6 if earlier is None else earlier.created,
    )
    record.write(seeded.folder.path)
