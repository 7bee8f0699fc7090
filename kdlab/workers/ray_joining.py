"""Joining a Ray cluster, or starting one on this machine; what cannot work there is refused before any trial."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdlab.errors import ConfigurationError, first_line
from kdlab.workers.cluster_share import Node, share_of
from kdlab.workers.machine import cores
from kdlab.workers.ray_cluster import Cluster

#: Seconds for a cluster to answer at all. Ray itself would go on trying for minutes.
PATIENCE = 5.0
#: Bytes of Ray's object store in a cluster that is started here: the least possible, as workers exchange nothing by it.
STORE = 80 * 2**20


@contextmanager
def joined(
    needed: Sequence[Path],
    address: str | None,
    workers: int | None,
    gpus_per_trial: float | None,
    accelerator: str,
    variables: Mapping[str, str],
    check: Callable[[Sequence[Node]], None],
) -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine, for as long as its workers are needed.

    Args:
        needed: files that every node must see.
        address: the cluster's address, as Ray takes it; None is that of RAY_ADDRESS, or else a new cluster on this
            machine.
        workers: how many; None is as many as the GPUs have room for or, without GPUs, one for each node.
        gpus_per_trial: part of a GPU that each gets, in (0, 1]; None is a whole one where there are any.
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        variables: more variables of the workers' environment, such as passwords.
        check: called with the nodes; raises an error if they cannot work on what the workers share.

    Raises:
        ConfigurationError: If Ray is not installed, or if the cluster does not answer or has no room for the workers.
    """
    _join(address or os.environ.get("RAY_ADDRESS") or None)
    import ray

    try:
        nodes = [node_of(described) for described in ray.nodes() if described["Alive"]]  # type: ignore[no-untyped-call]  # Ray's gap
        check(nodes)
        share = share_of(nodes, workers, gpus_per_trial, accelerator)
        yield Cluster(share, needed, variables)
    finally:
        ray.shutdown()


def _join(address: str | None) -> None:
    # Set before Ray is imported, because Ray reads it then: no usage statistics are sent anywhere.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {}
    if address is None:
        # A cluster of one machine listens on that machine alone: https://github.com/ray-project/ray/issues/18730
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        own = {"address": "local", "num_cpus": cores(), "include_dashboard": False, "object_store_memory": STORE}
    else:
        _check_answers(address)
        own = {"address": address}
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigurationError("--launcher ray needs a package: pip install 'kdlab[ray]'") from error
    try:
        ray.init(**own, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        option = f"--address {address}" if address else "--launcher ray"
        raise ConfigurationError(
            f"{option}: Ray cannot join ({first_line(error)[:300]}); expected auto on a node of a running "
            "cluster, or host:port of its head, with RAY_AUTH_MODE=token where it asks for one"
        ) from error


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        return  # such as auto, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"--address {address}: nobody answers there ({first_line(error)}); `ray start --head` on one machine "
            "starts a cluster and prints its address"
        ) from error


def node_of(told: Mapping[str, Any]) -> Node:
    """Return the node that Ray describes in an entry of ``ray.nodes()``."""
    resources = told["Resources"]
    return Node(
        told["NodeManagerAddress"],
        told["NodeManagerHostname"],
        int(resources.get("CPU", 0)),
        int(resources.get("GPU", 0)),
    )
