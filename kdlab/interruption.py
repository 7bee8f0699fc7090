"""Stopping at a moment that does no harm."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What asks a process to stop: Ctrl-C, and a machine or scheduler.
STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Let what runs inside come to its end before SIGINT or SIGTERM stops the process; a second one stops at once.

    A database session that is torn out of a write keeps the lock of the file, for which other processes then wait in
    vain. Outside the main thread, where no signal arrives, nothing is done.
    """
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if arrived:
            restore()
            signal.raise_signal(number)
        arrived.append(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # None is a handler that Python did not set and could not set again.
    before = {number: handler for number in STOPS if (handler := signal.getsignal(number)) is not None}
    try:
        for number in before:
            signal.signal(number, hold)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        restore()
    if arrived:
        signal.raise_signal(arrived[0])
