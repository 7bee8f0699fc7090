"""What the measurements share: a clock, sides that run alternately, the machine in words."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import torch

#: Does the work once.
Work = Callable[[], object]


def now() -> float:
    """Wall time; with one thread the process's own CPU time, which other programs on the machine do not lengthen."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def alternately(sides: Sequence[Work], rounds: int, repeat: int = 1) -> list[list[float]]:
    """Seconds of each side, round by round; in every other round they run in reverse order."""
    for side in sides:  # warm caches and allocators
        side()
    times: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides))
        for which in order if number % 2 == 0 else reversed(order):
            started = now()
            for _ in range(repeat):
                sides[which]()
            times[which].append((now() - started) / repeat)
    return times


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """Median over rounds of one side's time by the other's in the same round."""
    return statistics.median(one / other for one, other in zip(ours, others, strict=True))


def machine(*packages: str) -> str:
    """Where this runs, in a line, with the versions of torch and of further packages, as far as installed."""
    described = [
        f"{platform.system()} {platform.machine()}",
        f"{os.cpu_count()} cores",
        f"{torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
    ]
    for package in packages:
        with suppress(PackageNotFoundError):
            described.append(f"{package} {version(package)}")
    return ", ".join(described)
