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

#: Seconds between two looks at the workers, and how long they may take to stop.
LOOK, FAREWELL = 0.5, 60.0
#: So many deaths with nothing achieved in between are no accident.
TOO_MANY_DEATHS = 5
REFUSED, STOPPED = 2, 130


@dataclass(frozen=True)
class Ending:
    """How a worker ended.

    Args:
        code: its exit code; a signal's number with a minus if one killed it.
        last_words: the last line that it wrote.
    """

    code: int
    last_words: str


class Running(Protocol):
    """A worker that was started."""

    def poll(self) -> Ending | None:
        """How it ended, None while it works or waits for its turn."""

    def terminate(self) -> None:
        """Ask it to stop; nothing if it has ended."""

    def kill(self) -> None:
        """End it without asking."""


class Starter(Protocol):
    """Starts workers: as processes of this machine, or on a cluster."""

    @property
    def here(self) -> bool:
        """Whether they run on this machine, so that what they are asked for can be checked on it."""

    @property
    def workers(self) -> int:
        """How many there shall be."""

    def start(self, index: int, command: Sequence[str], log: Path) -> Running:
        """Start a worker.

        Args:
            index: which of the workers.
            command: what follows ``python -m``.
            log: a file that takes what it says.
        """


@dataclass
class Worker:
    """One of the crew."""

    index: int
    running: Running
    log: Path


@dataclass
class Crew:
    """The workers that this launcher started.

    Args:
        command: what a worker is started with, without the interpreter.
        starter: starts one.
        folder: of the workers' logs.
        achieved: how much is done, so that deaths can be told from a standstill.
    """

    command: Sequence[str]
    starter: Starter
    folder: Path
    achieved: Callable[[], int]
    workers: list[Worker] = field(default_factory=list)
    deaths: int = 0
    _last: int = 0

    def run(self, look: Callable[[], None]) -> None:
        """Start all workers and wait until each has ended well; ``look`` is called while they work.

        Raises:
            ConfigurationError: If a worker refuses the configuration; the others are stopped at once.
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

    @held_back()  # a worker that was started and is not among them would not be waited for
    def _start(self, index: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"worker-{index}-{os.getpid()}.log"
        log.touch()
        self.workers.append(Worker(index, self.starter.start(index, self.command, log), log))

    def _ended(self, worker: Worker, ending: Ending) -> None:
        """Done, refused, told to stop, or dead: then another takes its place."""
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
    """Command-line options from their names and values; None is left out, a list repeats."""
    words: list[str] = []
    for name, value in options.items():
        for part in value if isinstance(value, list | tuple) else [value]:
            if part is True:
                words.append(f"--{name}")
            elif part is not None and part is not False:
                words += [f"--{name}", str(part)]
    return words
