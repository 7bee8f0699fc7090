"""How a cluster is divided: all workers fit at once, or the sweep is refused."""

import re

import pytest

from kdlab.errors import ConfigurationError
from kdlab.workers.cluster_share import Node, Share, share_of

SMALL = Node("10.0.0.1", "small", cpus=4, gpus=0)
LARGE = Node("10.0.0.2", "large", cpus=8, gpus=2)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "accelerator", "expected"),
    [
        ([SMALL], None, None, "auto", Share(1, 4, 0.0)),
        ([SMALL, LARGE], None, None, "cpu", Share(2, 4, 0.0)),
        # With 4 CPUs each, the small node takes one and the large one two.
        ([SMALL, LARGE], 3, None, "cpu", Share(3, 4, 0.0)),
        ([SMALL, LARGE], 4, None, "cpu", Share(4, 2, 0.0)),
        # One a GPU; both GPUs are the large node's, whose 8 CPUs they share.
        ([SMALL, LARGE], None, None, "auto", Share(2, 4, 1.0)),
        ([SMALL, LARGE], None, 0.25, "gpu", Share(8, 1, 0.25)),
        # 0.4 of a GPU lets two share it and wastes a fifth: four workers on two GPUs.
        ([LARGE], None, 0.4, "auto", Share(4, 2, 0.4)),
        ([LARGE], None, 1 / 3, "auto", Share(6, 1, 1 / 3)),
    ],
)
def test_all_workers_fit_at_once(
    nodes: list[Node], workers: int | None, gpus: float | None, accelerator: str, expected: Share
) -> None:
    assert share_of(nodes, workers, gpus, accelerator) == expected


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "accelerator", "message"),
    [
        ([SMALL], None, 0.25, "auto", "--gpus-per-trial 0.25: the Ray cluster has no GPU"),
        ([SMALL], None, None, "gpu", "--accelerator gpu: the Ray cluster has no GPU"),
        ([LARGE], None, 0.5, "cpu", "--gpus-per-trial 0.5: not with --accelerator cpu"),
        ([LARGE], 5, 0.5, "auto", "--workers 5: the Ray cluster has 8 CPUs and 2 GPUs, room for 4 workers"),
        ([SMALL], 5, None, "auto", "--workers 5: the Ray cluster has 4 CPUs and 0 GPUs, room for 4 workers"),
        ([Node("10.0.0.3", "head", 0, 0)], None, None, "auto", "has 0 CPUs and 0 GPUs, room for 0 workers"),
    ],
)
def test_what_would_wait_for_ever_is_refused(
    nodes: list[Node], workers: int | None, gpus: float | None, accelerator: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        share_of(nodes, workers, gpus, accelerator)
