"""The place of a study: its name, its storage and its folder."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from kdlab.errors import ConfigurationError
from kdlab.tracking.addresses import shown
from kdlab.workers.cluster_share import Node

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class StudyPlace:
    """A study's name, storage and folder.

    Args:
        name: the study's name.
        url: the address of the storage, as SQLAlchemy takes it; it may hold a password.
        mlruns: the folder of stages and tracking, which all workers share.
    """

    name: str
    url: str
    mlruns: Path

    @property
    def folder(self) -> Path:
        """The folder for the workers' locks and logs."""
        return self.mlruns / "sweeps" / self.name

    @property
    def own(self) -> bool:
        """Whether the storage lies inside ``mlruns``, so that every process that sees it sees the locks as well."""
        return self.url == own_storage(self.mlruns)

    @property
    def one_machine(self) -> bool:
        """Whether only processes of one machine can share the storage."""
        return self.url.startswith("sqlite")

    @property
    def shown(self) -> str:
        """The address of the storage without its secrets, for printing."""
        return shown(self.url)

    def lock(self, name: str) -> FileLock:
        """Return a lock that all workers see if they share ``mlruns``; the caller takes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{name}.lock")


def place_of(name: str, storage: str | None, mlruns: Path) -> StudyPlace:
    """Return the place of a study.

    Args:
        name: the study's name.
        storage: the address of its storage; None is a database inside ``mlruns``.
        mlruns: the folder of stages and tracking.

    Raises:
        ConfigurationError: If the name cannot name a folder.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"--study {name}: take letters, digits, -, _ and .")
    return StudyPlace(name, storage or own_storage(mlruns.resolve()), mlruns.resolve())


def own_storage(mlruns: Path) -> str:
    """Return the address of the database inside ``mlruns``."""
    # SQLAlchemy would read these three characters as parts of the address.
    path = str(mlruns / "optuna.db").replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite:///{path}"


def check_storage(place: StudyPlace, nodes: Sequence[Node]) -> None:
    """Refuse a storage that not all nodes can reach.

    Args:
        place: the study's place.
        nodes: the nodes of the cluster.

    Raises:
        ConfigurationError: If the storage is a file of this machine, and a node is on another machine.
    """
    elsewhere = {node.address for node in nodes if node.host != socket.gethostname()}
    if place.one_machine and (elsewhere or len({node.address for node in nodes}) > 1):
        raise ConfigurationError(
            f"--storage {place.shown}: SQLite holds on one machine alone, and the Ray cluster has {len(nodes)} "
            f"{'node' if len(nodes) == 1 else 'nodes'}; give all of them --storage postgresql://user@host/database"
        )
