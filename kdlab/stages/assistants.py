"""Several processes on the stages and seeds of one run: it trains from the plan's start, assistants from its end."""

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

#: Seconds between two looks for a stage whose teachers are ready and that nobody trains.
LOOK = 0.5


@contextmanager
def assisted(command: Sequence[str], machine: Machine, logs: Path) -> Iterator[None]:
    """While assistants work: each is ``python -m`` with this command. What one leaves undone, the run does itself.

    Args:
        command: of an assistant, without the interpreter.
        machine: how the machine is shared; the run itself is its first worker.
        logs: folder of what they say.
    """
    logs.mkdir(parents=True, exist_ok=True)
    assistants = []
    try:
        for index in range(1, machine.workers):
            log = logs / f"assistant-{index}.log"
            log.write_bytes(b"")  # that of an earlier run says nothing of this one
            assistants.append(child(command, log, machine.environment(index)))
        yield
    finally:
        for assistant in assistants:
            assistant.terminate()
        for assistant in assistants:
            assistant.wait()


def assist(experiment: Experiment, options: Options) -> None:
    """Train and test what nobody else does, the last node first, until nothing is left that can be begun."""
    context = Context(experiment, options)
    nodes = context.plan()
    with terminable():
        while any(not (node.trained and node.tested) for node in nodes):
            if not any(_completed(context, node) for node in reversed(nodes)):
                time.sleep(LOOK)


def _completed(context: Context, node: StageNode) -> bool:
    """Bring a node to its end if it can be begun and nobody else has it; whether that was done."""
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
