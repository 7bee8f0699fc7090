"""Workers of one machine: started with their share of cores and GPUs, watched, replaced when they die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdlab.errors import Interrupted, StageError
from kdlab.run import terminable
from kdlab.sweep.machine import Machine

#: Seconds between two looks at the workers, and how long they may take to stop.
LOOK, FAREWELL = 0.5, 60.0
#: So many deaths with nothing achieved in between are no accident.
TOO_MANY_DEATHS = 5
REFUSED, STOPPED = 2, 130


@dataclass
class Worker:
    """A process and its log."""

    index: int
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("kdlab: error: ") if lines else "nothing was said"


@dataclass
class Crew:
    """The workers of this machine.

    Args:
        command: what a worker is started with, without the interpreter.
        machine: how the machine is shared.
        folder: of the workers' logs.
        achieved: how much is done, so that deaths can be told from a standstill.
    """

    command: Sequence[str]
    machine: Machine
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
                self.workers = [self._start(index) for index in range(self.machine.workers)]
                while self.workers:
                    for worker in list(self.workers):
                        if worker.process.poll() is not None:
                            self._ended(worker)
                    look()
                    time.sleep(LOOK)
        except KeyboardInterrupt as stop:
            raise Interrupted from stop
        finally:
            self._dismiss()

    def _start(self, index: int) -> Worker:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"worker-{index}-{os.getpid()}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *self.command],
                stdin=subprocess.PIPE,  # closed when this process dies, however it dies
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.machine.environment(index),
                start_new_session=True,  # Ctrl-C comes to this process alone, which then tells the workers
            )
        return Worker(index, process, log)

    def _ended(self, worker: Worker) -> None:
        """Done, refused, told to stop, or dead: then another takes its place."""
        self.workers.remove(worker)
        code = worker.process.returncode
        if code == 0:
            return
        if code == REFUSED:
            raise StageError(f"{worker.last_words()} (all of it: {worker.log})")
        if code == STOPPED:
            raise Interrupted
        achieved = self.achieved()
        self.deaths = self.deaths + 1 if achieved == self._last else 1
        self._last = achieved
        if self.deaths >= TOO_MANY_DEATHS:
            raise StageError(
                f"{self.deaths} workers died with nothing done in between; the last says: {worker.last_words()} "
                f"(all of it: {worker.log})"
            )
        print(f"a worker died ({_how(code)}); another takes its place", flush=True)
        self.workers.append(self._start(worker.index))

    def _dismiss(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        deadline = time.monotonic() + FAREWELL
        for worker in self.workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


def _how(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def arguments(options: Mapping[str, object]) -> list[str]:
    """Command-line options from their names and values; None is left out, a list repeats."""
    found: list[str] = []
    for name, value in options.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is True:
                found.append(f"--{name}")
            elif one is not None and one is not False:
                found += [f"--{name}", str(one)]
    return found
