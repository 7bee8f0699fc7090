"""Workers on a Ray cluster: Ray places them and gives them their CPUs and GPUs; the study stays in Optuna's storage.

Each worker is a child process of a Ray actor. Ray ends the actors of a launcher that is gone, and a worker whose actor
is gone stops by itself.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.errors import first_line
from kdlab.workers.cluster_share import Share
from kdlab.workers.crew import REFUSED, Ending
from kdlab.workers.machine import threads_of
from kdlab.workers.processes import child, ending

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

#: Prefixes of the launcher's variables that its workers need as well, for stores and their passwords.
HANDED_ON = ("KDLAB_", "MLFLOW_", "PG")


class Keeper:
    """Keeps one worker as a child process; it runs in a Ray actor, on the node where Ray has placed it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(
        self, command: Sequence[str], folder: Path, needed: Sequence[Path], log: Path, variables: Mapping[str, str]
    ) -> Ending:
        """Start the worker, wait until it has ended, and return how.

        Args:
            command: what follows ``python -m``.
            folder: the working directory of the worker.
            needed: files that this node must see.
            log: the file to which the worker's output is added.
            variables: environment variables that replace the node's own.
        """
        missing = [str(path) for path in (folder, *needed, log) if not path.exists()]
        if missing:
            return Ending(
                REFUSED,
                f"the Ray node {socket.gethostname()} does not see {missing[0]}; all nodes must share the working "
                "directory, the experiment's files and mlruns under the same paths",
            )
        os.chdir(folder)
        self._process = child(command, log, os.environ | dict(variables))
        # A stop may have come before there was a process to stop.
        if self._stopped:
            self._process.terminate()
        return ending(self._process.wait(), log)

    def terminate(self) -> None:
        """Ask the worker to stop."""
        self._stopped = True
        if self._process is not None:
            self._process.terminate()


class ClusterWorker:
    """A worker on a node, as the launcher sees it.

    Args:
        actor: Ray's handle of a ``Keeper``.
        ended: Ray's promise of how the worker ends.
    """

    def __init__(self, actor: "ActorHandle[Keeper]", ended: "ObjectRef[Ending]") -> None:
        self._actor, self._ended = actor, ended
        self._placed: ObjectRef[object] = actor.__ray_ready__.remote()

    def poll(self) -> Ending | None:
        """Return how the worker ended, or None while it works or waits for room on the cluster."""
        import ray

        if not _known(self._ended):
            return None
        try:
            outcome: Ending = ray.get(self._ended)
            self.kill()  # so that others get its CPUs and its GPU
        except ray.exceptions.RayActorError as error:
            return Ending(-signal.SIGKILL, f"Ray lost it: {first_line(error)}")
        except ray.exceptions.RayError as error:
            return Ending(1, first_line(error))
        return outcome

    def terminate(self) -> None:
        """Ask the worker to stop; one that still waits for room on the cluster is withdrawn."""
        if not _known(self._placed):
            self.kill()
        elif not _known(self._ended):
            self._actor.terminate.remote()

    def kill(self) -> None:
        """End the worker without asking."""
        import ray

        ray.kill(self._actor)


def _known(promise: "ObjectRef[Any]") -> bool:
    import ray

    return bool(ray.wait([promise], timeout=0)[0])


@dataclass(frozen=True)
class Cluster:
    """Starts workers on a cluster that this process has joined.

    Args:
        share: how many workers there are, and what each gets.
        needed: files that every node must see.
        further: more variables of the workers' environment, such as passwords.
    """

    share: Share
    needed: Sequence[Path]
    further: Mapping[str, str]

    @property
    def here(self) -> bool:
        """False, because the workers run on whatever node has room."""
        return False

    @property
    def workers(self) -> int:
        """How many workers there are to be."""
        return self.share.workers

    def start(self, index: int, command: Sequence[str], log: Path) -> ClusterWorker:
        """Have Ray place a worker where there is room for it, now or later, and return it."""
        import ray

        handed_on = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
        variables = {**handed_on, **threads_of(self.share.cpus), **self.further}
        # The node may have GPUs of which these workers have no share.
        if not self.share.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        kind: Any = ray.remote(Keeper)  # Ray adds methods to the class that its types do not know
        # One thread waits for the worker, another can tell it to stop.
        actor = kind.options(num_cpus=self.share.cpus, num_gpus=self.share.gpus, max_concurrency=2).remote()
        return ClusterWorker(actor, actor.run.remote(command, Path.cwd(), self.needed, log, variables))
