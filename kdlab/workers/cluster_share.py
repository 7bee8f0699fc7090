"""How workers share a cluster's nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdlab.errors import ConfigurationError


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Args:
        address: its network address.
        host: its host name.
        cpus: how many whole CPUs it has.
        gpus: how many whole GPUs it has.
    """

    address: str
    host: str
    cpus: int
    gpus: int

    def room(self, cpus: int, gpus: float) -> int:
        """Return how many workers fit on this machine.

        Args:
            cpus: CPUs for each worker, at least 1.
            gpus: part of a GPU for each worker, in [0, 1].
        """
        fit = self.cpus // cpus
        # A worker's part lies on one GPU, so 0.4 lets two share it. The small number makes up for rounding 1/3.
        return min(fit, self.gpus * int(1 / gpus + 1e-9)) if gpus else fit


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each gets.

    Args:
        workers: how many workers there are.
        cpus: CPUs for each.
        gpus: part of a GPU for each, in [0, 1].
    """

    workers: int
    cpus: int
    gpus: float


def share_of(nodes: Sequence[Node], workers: int | None, gpus_per_trial: float | None, accelerator: str) -> Share:
    """Divide a cluster among workers, so that all of them fit at once, with as many CPUs for each as that allows.

    Args:
        nodes: the nodes of the cluster.
        workers: how many; None is as many as the GPUs have room for or, without GPUs, one for each node.
        gpus_per_trial: part of a GPU for each, in (0, 1]; None is a whole one where there are any.
        accelerator: ``cpu``, ``gpu`` or ``auto``.

    Raises:
        ConfigurationError: If the workers do not fit at once, so that the last ones would wait for ever; or if GPUs are
            asked for that the cluster does not have, or together with the accelerator ``cpu``.
    """
    gpus = _gpus(nodes, gpus_per_trial, accelerator)
    room = _room(nodes, 1, gpus)
    total = workers or (room if gpus else sum(node.cpus > 0 for node in nodes))
    if not 0 < total <= room:
        has = f"{sum(node.cpus for node in nodes)} CPUs and {sum(node.gpus for node in nodes)} GPUs"
        raise ConfigurationError(
            f"--workers {total}: the Ray cluster has {has}, room for {room} workers with "
            f"{f'--gpus-per-trial {gpus:g} and ' if gpus else ''}a CPU each; ask for at most so many"
        )
    most = max(node.cpus for node in nodes)
    cpus = next(count for count in range(most, 0, -1) if _room(nodes, count, gpus) >= total)
    return Share(total, cpus, gpus)


def _room(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    return sum(node.room(cpus, gpus) for node in nodes)


def _gpus(nodes: Sequence[Node], asked: float | None, accelerator: str) -> float:
    """Return the part of a GPU that each worker gets."""
    if accelerator == "cpu":
        if asked is not None:
            raise ConfigurationError(f"--gpus-per-trial {asked:g}: not with --accelerator cpu; give one of them")
        return 0.0
    if any(node.gpus for node in nodes):
        return 1.0 if asked is None else asked
    if asked is not None or accelerator == "gpu":
        option = f"--gpus-per-trial {asked:g}" if asked is not None else "--accelerator gpu"
        raise ConfigurationError(f"{option}: the Ray cluster has no GPU; leave it out to train on CPUs")
    return 0.0
