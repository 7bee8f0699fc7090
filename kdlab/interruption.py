"""Let a process stop only at a moment that does no harm."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

#: Signals that ask a process to stop: by Ctrl-C, and by a scheduler or a machine that shuts down.
STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Held:
    """Signals to stop that wait until what runs has ended.

    Args:
        before: by signal, the handlers that are called in the end; empty outside the main thread, where no signal
            arrives.
    """

    before: Mapping[int, Callable[[int, FrameType | None], Any] | int]
    _arrived: list[int] = field(default_factory=list)

    def hold(self) -> None:
        """From now on, let the first signal wait; a second one stops the process at once."""
        for number in self.before:
            signal.signal(number, self._wait)

    def release(self) -> None:
        """Let signals stop the process again, beginning with those that wait."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        while self._arrived:
            signal.raise_signal(self._arrived.pop())

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let signals stop the process inside this block, such as a long training within what is held back."""
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

    A database session that is interrupted while it writes keeps the lock of its file, for which other processes then
    wait in vain. A second signal stops the process at once. Outside the main thread, where no signal arrives, nothing
    is held back.
    """
    # None stands for a handler that Python did not set and could not set again.
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
    """Let SIGTERM stop the process as Ctrl-C does, so that runs are closed and the stage can be resumed."""

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
