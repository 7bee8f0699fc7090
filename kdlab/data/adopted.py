"""Data modules of anybody's, adopted: the one place that asks whose they are."""

from collections.abc import Iterator, Sequence
from typing import Protocol, Self, runtime_checkable

from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, cat

from kdlab.data.base import SPLITS, DataModule
from kdlab.data.batches import as_batch
from kdlab.data.description import Description


class Data(Protocol):
    """What kdlab asks of data. A ``DataModule`` answers for itself, ``ForeignData`` for every other data module."""

    @property
    def lightning(self) -> LightningDataModule:
        """The data module whose hooks and loaders Lightning calls."""

    @property
    def description(self) -> Description:
        """What is known of the data."""

    @property
    def samples(self) -> int:
        """How many samples have a number, ``index``, by which they are found again; 0 where loaders alone know them."""

    def content_hash(self) -> str | None:
        """Return a digest of all that reaches a stage; None where nobody can tell."""

    def arranged(self, seed: int, labelled: int | None = None, transfer: bool = True) -> "Data":
        """Return the data in a seed's order with some of their labels, as ``DataModule`` does.

        Raises:
            ValueError: If they do not have these labels, or cannot be cut.
        """

    def probe(self, count: int, split: str) -> dict[str, Tensor]:
        """Return some samples of a split, as a batch."""

    def every_batch(self, splits: Sequence[str] = SPLITS) -> Iterator[dict[str, Tensor]]:
        """Yield every sample of these splits that has a number once, in order, all of them in every process."""


@runtime_checkable
class HasContentHash(Protocol):
    """A data module that can say what it holds, so that stages train again when that changes."""

    def content_hash(self) -> str:
        """Return a digest of all that reaches a stage."""


class ForeignData:
    """A data module that is none of kdlab's: its loaders alone know its samples.

    Args:
        lightning: The data module.
    """

    samples = 0

    def __init__(self, lightning: LightningDataModule) -> None:
        self.lightning = lightning

    @property
    def description(self) -> Description:
        """Nothing is known."""
        return Description()

    def content_hash(self) -> str | None:
        """Return what its own method says, if it has one."""
        return self.lightning.content_hash() if isinstance(self.lightning, HasContentHash) else None

    def arranged(self, seed: int, labelled: int | None = None, transfer: bool = True) -> Self:
        """Return the data as they are: their order is their loaders'. Fewer labels are refused."""
        if labelled is not None:
            raise ValueError(
                f"{labelled} labels are asked for, but {type(self.lightning).__name__} is no kdlab data module and "
                f"cannot be cut; subclass kdlab.data.base.DataModule, or drop labelled"
            )
        return self

    def probe(self, count: int, split: str) -> dict[str, Tensor]:
        """Return the first samples that the split's loader gives, inputs and target."""
        data = self.lightning
        loaders = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}
        batches: list[dict[str, Tensor]] = []
        for batch in loaders[split]():
            batches.append(as_batch(batch))
            if sum(len(kept["target"]) for kept in batches) >= count:
                break
        return {name: cat([batch[name] for batch in batches])[:count] for name in ("inputs", "target")}

    def every_batch(self, splits: Sequence[str] = SPLITS) -> Iterator[dict[str, Tensor]]:
        """Yield nothing: no sample has a number."""
        return iter(())


def adopt_data(data: LightningDataModule) -> Data:
    """Return the data as kdlab asks them."""
    return data if isinstance(data, DataModule) else ForeignData(data)


def data_of(trainer: Trainer) -> Data:
    """Return the data of a trainer; where it has loaders alone, nothing is known."""
    # Lightning sets the attribute where there is a data module.
    return adopt_data(getattr(trainer, "datamodule", None) or LightningDataModule())
