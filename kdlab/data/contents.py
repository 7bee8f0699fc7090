"""What data hold, in one line: how many samples of which shape, and how large the classes are."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor

from kdlab.data.base import SPLITS, DataModule


def contents(data: LightningDataModule) -> dict[str, Any] | None:
    """Return numbers of the data, for records; None where they are no ``DataModule`` of kdlab's.

    ``samples`` by split, ``shape`` of one input, ``classes``, ``unlabelled`` training samples, ``shares`` (the smallest
    and largest of a class among the labelled training samples), and ``largest``: the most frequent class of the test
    split and its share there, which is the accuracy of always saying it; None where a split has no labels.
    """
    if not isinstance(data, DataModule):
        return None
    data.setup()
    counts = {split: _counts(data.splits[split]["target"], data.classes) for split in SPLITS}
    train, test = _shares(counts["train"]), _shares(counts["test"])
    return {
        "samples": {split: len(data.splits[split]["target"]) for split in SPLITS},
        "shape": list(data.shape),
        "classes": data.classes,
        "unlabelled": int((data.splits["train"]["target"] < 0).sum()),
        "shares": None if train is None else [min(train), max(train)],
        "largest": None if test is None else {"class": data.class_names[test.index(max(test))], "share": max(test)},
    }


def remarks_of(data: LightningDataModule) -> list[str]:
    """Return what the data say of themselves that should be known, a line each; nothing where they are no kdlab's."""
    if not isinstance(data, DataModule):
        return []
    data.setup()
    return [f"  {remark}" for remark in data.remarks]


def in_one_line(name: str, data: LightningDataModule, found: Mapping[str, Any] | None) -> str:
    """Return ``digits: 1,078 / 360 / 359 samples of 1 × 8 × 8 values, 10 classes (9.6 % to 10.2 %)``.

    ``found`` is what ``contents`` says; counts are of train, validation and test, shares of labelled training samples.
    """
    if found is None:
        return f"{name}: data of {type(data).__name__}, of which only its own loaders know the size"
    samples = " / ".join(f"{count:,}" for count in found["samples"].values())
    shape = " × ".join(map(str, found["shape"]))
    shares = found["shares"]
    range_of_shares = "" if shares is None else f" ({_range(*shares)})"
    unlabelled = f", {found['unlabelled']:,} training samples without label" if found["unlabelled"] else ""
    return f"{name}: {samples} samples of {shape} values, {found['classes']} classes{range_of_shares}{unlabelled}"


def _range(low: float, high: float) -> str:
    lowest, highest = f"{low:.1%}".replace("%", " %"), f"{high:.1%}".replace("%", " %")
    return f"{lowest} each" if lowest == highest else f"{lowest} to {highest}"


def _counts(target: Tensor, classes: int) -> Tensor:
    return target[target >= 0].bincount(minlength=classes)


def _shares(counts: Tensor) -> list[float] | None:
    total = int(counts.sum())
    return [count / total for count in counts.tolist()] if total else None
