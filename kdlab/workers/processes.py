"""Workers as processes of one machine; each stops when the process that started it is gone."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlab.workers.crew import Ending
from kdlab.workers.machine import Machine


def child(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start ``python -m`` with this command and return the process; what it prints is added to the log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.PIPE,  # closed when this process dies, however it dies
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # so that Ctrl-C reaches the launcher alone, which then tells the workers
        )


def ending(code: int, log: Path) -> Ending:
    """Return how a process ended, with the last line of its log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return Ending(code, lines[-1].removeprefix("kdlab: error: ") if lines else "nothing was said")


@dataclass(frozen=True)
class LocalWorker:
    """A worker that is a process of this machine, and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def poll(self) -> Ending | None:
        """Return how the process ended, or None while it works."""
        code = self.process.poll()
        return None if code is None else ending(code, self.log)

    def terminate(self) -> None:
        """Ask the process to stop; nothing happens if it has ended."""
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """End the process without asking."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Processes:
    """Starts workers on this machine.

    Args:
        machine: how this machine is shared.
    """

    machine: Machine

    @property
    def here(self) -> bool:
        """True, because the workers run on this machine."""
        return True

    @property
    def workers(self) -> int:
        """How many workers there are to be."""
        return self.machine.workers

    def start(self, index: int, command: Sequence[str], log: Path) -> LocalWorker:
        """Start a worker with its share of the machine, and return it."""
        return LocalWorker(child(command, log, self.machine.environment(index)), log)
