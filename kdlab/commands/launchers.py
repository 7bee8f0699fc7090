"""Where ``kdlab sweep`` starts its workers: as processes of this machine, or on a Ray cluster."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from kdlab.errors import ConfigurationError

if TYPE_CHECKING:
    from kdlab.sweep.definition import Sweep
    from kdlab.sweep.study_place import StudyPlace
    from kdlab.workers.crew import Starter


@contextmanager
def local(parsed: argparse.Namespace, definition: "Sweep", place: "StudyPlace") -> "Iterator[Starter]":
    """Yield a starter of processes on this machine.

    Raises:
        ConfigurationError: If an option is given that is meant for a cluster.
    """
    from kdlab.workers.machine import shared
    from kdlab.workers.processes import Processes

    for option in ("address", "gpus_per_trial"):
        if getattr(parsed, option) is not None:
            option_text = f"--{option.replace('_', '-')} {getattr(parsed, option)}"
            raise ConfigurationError(f"{option_text}: this is said to a cluster; add --launcher ray, or leave it out")
    machine = shared(parsed.workers, parsed.per_gpu, parsed.accelerator)
    # The storage's address may hold a password, which must not appear on a command line.
    yield Processes(replace(machine, further={"KDLAB_STORAGE": place.url}))


@contextmanager
def ray(parsed: argparse.Namespace, definition: "Sweep", place: "StudyPlace") -> "Iterator[Starter]":
    """Yield a starter of workers on a Ray cluster.

    Raises:
        ConfigurationError: If ``--per-gpu`` is given, which is meant for this machine.
    """
    from kdlab.sweep.study_place import check_storage
    from kdlab.workers.ray_joining import joined

    if parsed.per_gpu != 1:
        raise ConfigurationError(f"--per-gpu {parsed.per_gpu}: Ray is told --gpus-per-trial {1 / parsed.per_gpu:.3g}")
    with joined(
        [definition.path.resolve(), definition.experiment.path.resolve(), place.folder],
        parsed.address,
        parsed.workers,
        parsed.gpus_per_trial,
        parsed.accelerator,
        variables={"KDLAB_STORAGE": place.url},
        check=lambda nodes: check_storage(place, nodes),
    ) as cluster:
        yield cluster


Launcher = Callable[[argparse.Namespace, "Sweep", "StudyPlace"], "AbstractContextManager[Starter]"]
#: The launchers by their names for ``--launcher``.
LAUNCHERS: Mapping[str, Launcher] = {"local": local, "ray": ray}
