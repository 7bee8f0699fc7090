"""Stopping at a moment that does no harm."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

#: What asks a process to stop: Ctrl-C, and a machine or scheduler.
STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Held:
    """Stops that wait for the end of what runs.

    Args:
        before: the handlers that they wait for; empty outside the main thread, where no signal arrives.
    """

    before: Mapping[int, Callable[[int, FrameType | None], Any] | int]
    _arrived: list[int] = field(default_factory=list)

    def hold(self) -> None:
        """From here on a first stop waits, and a second one stops at once."""
        for number in self.before:
            signal.signal(number, self._wait)

    def release(self) -> None:
        """Stops end the process again, beginning with those that wait."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        while self._arrived:
            signal.raise_signal(self._arrived.pop())

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """A part inside, such as a long training, that may be stopped."""
        try:
            self.release()
            yield
        finally:
            self.hold()

    def _wait(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append(number)
        if len(self._arrived) > 1:
            self.release()


@contextmanager
def held_back() -> Iterator[Held]:
    """Let what runs inside come to its end, good or bad, before SIGINT or SIGTERM stops the process.

    A database session that is torn out of a write keeps the lock of the file, for which other processes then wait in
    vain. A second signal stops at once. Outside the main thread, where no signal arrives, nothing is done.
    """
    # None is a handler that Python did not set and could not set again.
    held = Held({number: handler for number in STOPS if (handler := signal.getsignal(number)) is not None})
    try:
        held.hold()
    except ValueError:  # not in the main thread
        yield Held({})
        return
    try:
        yield held
    finally:
        held.release()


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C, so that runs are closed and the stage can go on later."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread, as in somebody's notebook or test
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
