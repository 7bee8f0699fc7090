"""How workers share a machine's cores and GPUs.

This module does not import torch, because torch reads the environment when it is loaded.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from kdlab.errors import ConfigurationError


@dataclass(frozen=True)
class Machine:
    """How this machine is shared.

    Args:
        workers: how many workers there are.
        gpus: the GPUs that the workers are given in turn, as CUDA_VISIBLE_DEVICES names them; empty if there are none.
        further: more variables of the workers' environment, such as passwords, which must not stand on a command line.
    """

    workers: int
    gpus: tuple[str, ...] = ()
    further: Mapping[str, str] = field(default_factory=dict)

    def environment(self, index: int) -> dict[str, str]:
        """Return the environment variables of a worker.

        Args:
            index: the worker's number, from 0.
        """
        gpu = self.gpus[index % len(self.gpus)] if self.gpus else ""
        threads = threads_of(max(1, cores() // self.workers))
        return {**os.environ, **threads, "CUDA_VISIBLE_DEVICES": gpu, **self.further}


def threads_of(cpus: int) -> dict[str, str]:
    """Return the variables that keep a process to so many cores, or to fewer where the environment asks for fewer."""
    requested = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(cpus, int(requested)) if requested.isdecimal() and int(requested) > 0 else cpus
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def cores() -> int:
    """Return how many cores this process may use."""
    # A process may be allowed fewer cores than the machine has; only Linux can tell how many.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by name or number."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    # torch could tell as well, but must not be loaded yet.
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def shared(workers: int | None, per_gpu: int, accelerator: str) -> Machine:
    """Return how many workers there are, and which GPUs they get.

    Args:
        workers: how many; None is as many as the GPUs may carry, or one if there is no GPU.
        per_gpu: how many workers may share a GPU.
        accelerator: ``cpu``, ``gpu`` or ``auto``.

    Raises:
        ConfigurationError: If more workers are asked for than the GPUs may carry.
    """
    gpus = [] if accelerator == "cpu" else visible_gpus()
    if not gpus:
        return Machine(workers or 1)
    room = len(gpus) * per_gpu
    if workers is not None and workers > room:
        raise ConfigurationError(
            f"--workers {workers}: there are {len(gpus)} GPUs here, with {per_gpu} workers each; let several share one "
            f"with --per-gpu {-(-workers // len(gpus))}, or train on the CPU with --accelerator cpu"
        )
    return Machine(workers or room, tuple(gpus))
