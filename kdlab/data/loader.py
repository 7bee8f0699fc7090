"""Loaders over tensors in memory: batches are sliced, not collated, divided over ranks, and resumable in mid-epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.seeding import generator_at


def place() -> tuple[int, int]:
    """Return (rank, number of ranks) of this process: (0, 1) when nothing is distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class TensorLoader:
    """Every sample once, in order: for validation and test.

    Over several ranks each sample is seen by exactly one of them, without padding, and all ranks have the same number
    of batches, none of them empty (DistributedDataParallel communicates in every forward of a net with buffers).

    Args:
        tensors: By name, all of the same length N in their first dimension.
        batch_size: Samples in a batch over all ranks together, >= 1.

    Raises:
        ValueError: If the batch size is not positive, tensors differ in length or are empty; when iterated, if the
            batch size is not divisible by the number of ranks, or there are fewer samples than ranks.
    """

    def __init__(self, tensors: Mapping[str, Tensor], batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"a loader needs tensors of one length, at least 1, got {lengths}")
        self.tensors = dict(tensors)
        self.batch_size = batch_size
        self.samples = next(iter(lengths.values()))

    def __len__(self) -> int:
        ranks = place()[1]
        self._check_divisible(ranks)
        if self.samples < ranks:
            raise ValueError(f"{self.samples} samples cannot be divided over {ranks} ranks; use fewer devices")
        return min(-(-self.samples // self.batch_size), self.samples // ranks)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for rows in self._rows():
            yield self._batch(rows)

    def _rows(self) -> Sequence[Tensor]:
        rank, ranks = place()
        count = len(self)
        mine = torch.arange(rank, self.samples, ranks)
        # One process keeps whole batches and a short last one; several must agree on the number of batches.
        if ranks == 1:
            return [mine[start : start + self.batch_size] for start in range(0, self.samples, self.batch_size)]
        return mine.tensor_split(count)

    def _batch(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}

    def _check_divisible(self, ranks: int) -> None:
        if self.batch_size % ranks:
            raise ValueError(f"batch_size {self.batch_size} is for all devices together; {ranks} do not divide it")


class ShuffledLoader(TensorLoader):
    """Training batches in an order that depends on (seed, epoch) alone, so that an interrupted epoch can be continued.

    Batch k of an epoch is the same set of samples for any number of ranks; each rank takes its slice. The last,
    incomplete batch is left out. How Lightning 2.6.6 drives it, read in its source and proved by test_resume.py:

    - ``fit`` makes the iterator *before* it tells the epoch (``loader.sampler.set_epoch``). ``__iter__`` is therefore a
      generator, which reads the epoch at its first ``next``.
    - Every checkpoint holds ``state_dict()`` of each loader that has both methods (``CombinedLoader._state_dicts``,
      under ``loops.fit_loop.state_dict.combined_loader``). It is taken from rank 0, so nothing in it may depend on the
      rank. ``fit(ckpt_path=...)`` hands it to ``load_state_dict`` before the iterator is made, but only if the epoch
      was unfinished, or ``max_steps`` is set: then also after a finished epoch. So a position is bound to its epoch
      here, and dropped when ``set_epoch`` names another.
    - Lightning counts on by its own batch counter and asks ``len()`` for the whole epoch's length, not the rest's.
    - What else a resume needs is no loader's business: see ``kdlab/stages/checkpoints.py``. A ``torch`` ``DataLoader``
      has no state: Lightning then reads the epoch's first batches again, with a warning.

    Args:
        tensors: By name, all of the same length N in their first dimension.
        batch_size: Samples in a batch over all ranks together, 1 .. N.
        seed: First part of the order's address.
        rows: If given, batches are drawn from these rows only, cycled in a new order each pass; the number of batches
            stays N // batch_size.
        augment: Changes each batch; gets a generator addressed by (seed, epoch, batch number, rank).

    Raises:
        ValueError: As TensorLoader, and if there is not one whole batch, or no row.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        batch_size: int,
        seed: int,
        rows: Tensor | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(tensors, batch_size)
        if self.samples < batch_size:
            raise ValueError(f"batch_size {batch_size} is larger than the {self.samples} training samples")
        self.seed = seed
        self.rows = torch.arange(self.samples) if rows is None else rows
        if not len(self.rows):
            raise ValueError("no labelled training sample to draw from; ask for at least one")
        self.augment = augment
        self._epoch = 0
        self._served = 0
        self._resume_at = 0

    @property
    def sampler(self) -> Self:
        """The object on which Lightning calls ``set_epoch``."""
        return self

    def whole(self) -> dict[str, Tensor]:
        """Return every sample that batches are drawn from, once, in the data's order, not augmented."""
        return self._batch(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; a position in another epoch is forgotten."""
        if epoch != self._epoch:
            self._epoch, self._served, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches that were handed out, and what they were cut from."""
        return {"epoch": self._epoch, "served": self._served, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue: the next iteration of that epoch starts after the batches already served.

        Raises:
            ValueError: If the state belongs to another seed, batch size or number of samples.
        """
        other = {name: state.get(name) for name, value in self._identity().items() if state.get(name) != value}
        if other:
            raise ValueError(f"the checkpoint's loader has {other}, this one {self._identity()}; train afresh")
        self._epoch, self._served, self._resume_at = state["epoch"], state["served"], state["served"]

    def __len__(self) -> int:
        self._check_divisible(place()[1])
        return self.samples // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rank, epoch, start = place()[0], self._epoch, self._resume_at
        self._resume_at = 0
        for number, rows in enumerate(self._rows()):
            if number < start:
                continue
            batch = self._batch(rows)
            if self.augment is not None:
                batch = self.augment(batch, generator_at("augment", self.seed, epoch, number, rank))
            # Before the yield: a checkpoint saved while the caller works on this batch counts it as served.
            self._served = number + 1
            yield batch

    def _rows(self) -> Sequence[Tensor]:
        rank, ranks = place()
        needed = len(self) * self.batch_size
        generator = generator_at("order", self.seed, self._epoch)
        passes = -(-needed // len(self.rows))
        order = torch.cat([torch.randperm(len(self.rows), generator=generator) for _ in range(passes)])[:needed]
        share = self.batch_size // ranks
        return self.rows[order].reshape(-1, ranks, share)[:, rank].unbind()

    def _identity(self) -> dict[str, int]:
        return {"seed": self.seed, "batch_size": self.batch_size, "samples": self.samples, "rows": len(self.rows)}
