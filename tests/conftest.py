"""Every test starts from the same random state, alone with its own files, and leaves torch as it found it."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

# Before anything imports them: no windows, and nothing sent anywhere.
os.environ["MPLBACKEND"] = "Agg"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)
# A shell has what it starts in the background ignore Ctrl-C, which some tests send to processes that inherit this.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest
import torch

pytest.register_assert_rewrite("tests.kills")


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def leaves_torch_as_it_was() -> Iterator[None]:
    before = _switches()
    yield
    after = _switches()
    assert after == before, f"the test left torch's switches changed: {before} -> {after}"


def _switches() -> dict[str, object]:
    return {
        "gradients": torch.is_grad_enabled(),
        "default type": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets named by KDLAB_DATA; the test is skipped without it."""
    folder = os.environ.get("KDLAB_DATA")
    if not folder:
        pytest.skip("KDLAB_DATA names no folder of data sets")
    return Path(folder)
