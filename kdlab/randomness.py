"""Seeds that follow from names, and states of generators that are saved, restored and swapped in a ``with``."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch


def address(seed: int, *names: str | int) -> int:
    """Return a seed in [0, 2**32) that follows from a seed and names, and is the same on every machine."""
    # Python's own hash of a text differs from process to process.
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def global_state() -> dict[str, Any]:
    """Return the states of torch's, numpy's and Python's global generators, in plain types for a checkpoint."""
    drawn = numpy.random.get_state(legacy=False)  # noqa: NPY002  users' code draws from it
    twister = drawn["state"]
    version, internal, next_gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            str(drawn["bit_generator"]),
            torch.from_numpy(twister["key"].astype("int64")),
            int(twister["pos"]),
            int(drawn["has_gauss"]),
            float(drawn["gauss"]),
        ],
        "python": [version, list(internal), next_gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_global_state(state: dict[str, Any]) -> None:
    """Put the global generators into a state that ``global_state`` returned."""
    torch.set_rng_state(state["torch"].cpu())
    kind, keys, position, has_gauss, gauss = state["numpy"]
    numpy.random.set_state((kind, keys.numpy().astype("uint32"), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, next_gauss = state["python"]
    random.setstate((version, tuple(internal), next_gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([value.cpu() for value in state["cuda"]])


@contextmanager
def forked(seed: int) -> Iterator[None]:
    """Seed all global generators inside the block; after it they are as before, also after an error."""
    before = global_state()
    torch.manual_seed(seed)
    numpy.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        restore_global_state(before)


class Stream:
    """A random stream of its own: inside ``with stream:`` torch draws from it, and outside nothing changes.

    What is drawn inside (an explainer's dropout or masks) cannot shift what the student draws outside.

    Args:
        seed: where the stream begins.
    """

    def __init__(self, seed: int) -> None:
        self._cpu = torch.Generator().manual_seed(seed).get_state()
        self._cuda: torch.Tensor | None = None
        self._seed = seed
        self._before: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def __enter__(self) -> "Stream":
        cuda = torch.cuda.is_available()
        self._before.append((torch.get_rng_state(), torch.cuda.get_rng_state() if cuda else None))
        torch.set_rng_state(self._cpu)
        if cuda:
            if self._cuda is None:
                torch.cuda.manual_seed(self._seed)
            else:
                torch.cuda.set_rng_state(self._cuda)
        return self

    def __exit__(self, *error: object) -> None:
        cpu, cuda = self._before.pop()
        self._cpu = torch.get_rng_state()
        torch.set_rng_state(cpu)
        if cuda is not None:
            self._cuda = torch.cuda.get_rng_state()
            torch.cuda.set_rng_state(cuda)

    def state_dict(self) -> dict[str, torch.Tensor | None]:
        """Return the point that the stream has reached, for a checkpoint."""
        return {"cpu": self._cpu, "cuda": self._cuda}

    def load_state_dict(self, state: dict[str, torch.Tensor | None]) -> None:
        """Go on from a point that ``state_dict`` returned.

        Raises:
            ValueError: If the checkpoint holds no state of this stream.
        """
        cpu, cuda = state["cpu"], state["cuda"]
        if cpu is None:
            raise ValueError("the checkpoint holds no state of this random stream")
        self._cpu = cpu.cpu()
        self._cuda = None if cuda is None else cuda.cpu()
