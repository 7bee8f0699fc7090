"""Several processes on the stages and seeds of one run: it trains from the plan's start, assistants from its end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdlab.configuration.experiment import Experiment
from kdlab.interruption import terminable
from kdlab.stages.options import Options
from kdlab.stages.run import begun
from kdlab.stages.scoring import test
from kdlab.stages.training import train
from kdlab.stages.workshop import Planned, Workshop, plans
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


def help_along(experiment: Experiment, options: Options) -> None:
    """Train and test what nobody else does, the last stage first, until nothing is left that can be begun."""
    workshop = Workshop(experiment, options)
    planned = plans(workshop)
    with terminable():
        while any(not (one.trained and one.tested) for one in planned):
            if not any(_taken(workshop, one) for one in reversed(planned)):
                time.sleep(LOOK)


def _taken(workshop: Workshop, planned: Planned) -> bool:
    """Bring a stage to its end if it can be begun and nobody else has it; whether that was done."""
    needed = workshop.reference_of(planned.stage, planned.seed)
    if planned.trained and planned.tested:
        return False
    if not all(workshop.planned(*teacher).trained for teacher in needed):
        return False
    planned.folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(planned.folder.path / "lock", timeout=0):
            if not planned.trained:
                train(begun(workshop, planned), lambda: None, [])
            planned.folder.tidy()
            if not planned.tested:
                test(workshop.job(planned), planned.evaluation)
    except Timeout:
        return False
    return True
