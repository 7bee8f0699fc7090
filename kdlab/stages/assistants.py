"""Several processes share the stages of one run: the run works from the plan's start, its assistants from the end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from kdlab.configuration.experiment import Experiment
from kdlab.interruption import terminable
from kdlab.stages.context import Context
from kdlab.stages.execution import evaluate_node, train_node
from kdlab.stages.graph import StageNode
from kdlab.stages.options import Options
from kdlab.workers.machine import Machine
from kdlab.workers.processes import child

#: Seconds between two searches for a stage whose teachers are finished and that no other process trains.
LOOK = 0.5


@contextmanager
def assisted(command: Sequence[str], machine: Machine, logs: Path) -> Iterator[None]:
    """Run assistants while the block runs, each as ``python -m`` with this command; the run completes what they leave.

    Args:
        command: an assistant's command line without the interpreter.
        machine: how the machine is shared; the run itself is its first worker.
        logs: the folder of the assistants' output.
    """
    logs.mkdir(parents=True, exist_ok=True)
    assistants = []
    try:
        for index in range(1, machine.workers):
            log = logs / f"assistant-{index}.log"
            log.write_bytes(b"")  # else it would still hold the output of an earlier run
            assistants.append(child(command, log, machine.environment(index)))
        yield
    finally:
        # All are told before the first is waited for, so that they stop at the same time.
        for assistant in assistants:
            assistant.terminate()
        for assistant in assistants:
            assistant.wait()


def assist(experiment: Experiment, options: Options) -> None:
    """Train and test stages that no other process works on, the plan's last first, until every stage is finished."""
    context = Context(experiment, options)
    nodes = context.plan()
    with terminable():
        while any(not (node.trained and node.tested) for node in nodes):
            if not any(_completed(context, node) for node in reversed(nodes)):
                time.sleep(LOOK)


def _completed(context: Context, node: StageNode) -> bool:
    """Train and test a stage if it can be begun and no other process holds it; return whether that was done."""
    if node.trained and node.tested:
        return False
    if not all(other.trained for other in (*node.reference, *node.needed)):
        return False
    try:
        with node.folder.locked(timeout=0):
            train_node(context, node, lambda: None)
            evaluate_node(context, node)
    except Timeout:
        return False
    return True
