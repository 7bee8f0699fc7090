"""A sweep's workers, wherever they run: started, watched, replaced when they die, and told to stop."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kdlab.errors import Interrupted, StageError
from kdlab.interruption import held_back, terminable

#: Seconds between two looks at the workers, and seconds that they may take to stop.
LOOK, FAREWELL = 0.5, 60.0
#: So many deaths with nothing achieved in between are no accident, and end the sweep.
TOO_MANY_DEATHS = 5
#: Exit codes of a worker that refuses the configuration, and of one that was told to stop.
REFUSED, STOPPED = 2, 130


@dataclass(frozen=True)
class Ending:
    """How a worker ended.

    Args:
        code: its exit code, or the negative number of the signal that killed it.
        last_words: the last line that it wrote.
    """

    code: int
    last_words: str


class Running(Protocol):
    """A worker that was started."""

    def poll(self) -> Ending | None:
        """Return how the worker ended, or None while it works or waits for its turn."""

    def terminate(self) -> None:
        """Ask the worker to stop; nothing happens if it has ended."""

    def kill(self) -> None:
        """End the worker without asking."""


class Starter(Protocol):
    """Starts workers: as processes of this machine, or on a cluster."""

    @property
    def here(self) -> bool:
        """Whether the workers run on this machine, so that what they need, such as a GPU, can be checked here."""

    @property
    def workers(self) -> int:
        """How many workers there are to be."""

    def start(self, index: int, command: Sequence[str], log: Path) -> Running:
        """Start a worker and return it.

        Args:
            index: the worker's number, from 0.
            command: what follows ``python -m``.
            log: the file to which the worker's output is added.
        """


@dataclass
class Worker:
    """A worker of the crew, with its number and its log."""

    index: int
    running: Running
    log: Path


@dataclass
class Crew:
    """The workers that this launcher started.

    Args:
        command: what follows ``python -m`` to start a worker.
        starter: starts workers.
        folder: the folder of the workers' logs.
        achieved: returns how much is done; deaths with something done in between are accidents.
        workers: the workers that have not ended.
        deaths: how many workers have died since something was last done.
    """

    command: Sequence[str]
    starter: Starter
    folder: Path
    achieved: Callable[[], int]
    workers: list[Worker] = field(default_factory=list)
    deaths: int = 0
    _last: int = 0

    def run(self, look: Callable[[], None]) -> None:
        """Start all workers and wait until each has ended well.

        Args:
            look: called again and again while they work.

        Raises:
            StageError: If a worker refuses the configuration, or if ``TOO_MANY_DEATHS`` workers die with nothing done
                in between; the other workers are stopped at once.
            Interrupted: At Ctrl-C or SIGTERM, or when a worker was told to stop.
        """
        try:
            with terminable():
                for index in range(self.starter.workers):
                    self._start(index)
                while self.workers:
                    for worker in list(self.workers):
                        ending = worker.running.poll()
                        if ending is not None:
                            self._ended(worker, ending)
                    look()
                    time.sleep(LOOK)
        except KeyboardInterrupt as stop:
            raise Interrupted from stop
        finally:
            self._dismiss()

    @held_back()  # a stop in between would leave a worker that nobody waits for
    def _start(self, index: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"worker-{index}-{os.getpid()}.log"
        log.touch()
        self.workers.append(Worker(index, self.starter.start(index, self.command, log), log))

    def _ended(self, worker: Worker, ending: Ending) -> None:
        """Take a worker out that has ended, start another if it died, and end the crew if it refused or was stopped."""
        self.workers.remove(worker)
        if ending.code == 0:
            return
        if ending.code == REFUSED:
            raise StageError(f"{ending.last_words} (all of it: {worker.log})")
        if ending.code == STOPPED:
            raise Interrupted
        achieved = self.achieved()
        self.deaths = self.deaths + 1 if achieved == self._last else 1
        self._last = achieved
        if self.deaths >= TOO_MANY_DEATHS:
            raise StageError(
                f"{self.deaths} workers died with nothing done in between; the last says: {ending.last_words} "
                f"(all of it: {worker.log})"
            )
        print(f"a worker died ({_how(ending.code)}); another takes its place", flush=True)
        self._start(worker.index)

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.running.terminate()
        deadline = time.monotonic() + FAREWELL
        left = self.workers
        while left := [worker for worker in left if worker.running.poll() is None]:
            if time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        for worker in left:
            worker.running.kill()


def _how(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def arguments(options: Mapping[str, object]) -> list[str]:
    """Return command-line options from their names and values.

    None and False are left out, True gives the name alone, and a list repeats the option for each of its values.
    """
    words: list[str] = []
    for name, value in options.items():
        for part in value if isinstance(value, list | tuple) else [value]:
            if part is True:
                words.append(f"--{name}")
            elif part is not None and part is not False:
                words += [f"--{name}", str(part)]
    return words
