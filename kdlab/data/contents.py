"""What data hold, in one line: how many samples of which shape, and how large the classes are."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kdlab.data.adopted import Data


def contents(data: Data) -> dict[str, Any] | None:
    """Return numbers of the data, for records; None where their loaders alone know them.

    ``samples`` by split, ``shape`` of one input, ``classes``, ``unlabelled`` training samples, ``shares`` (the smallest
    and largest of a class among the labelled training samples), and ``largest``: the most frequent class of the test
    split and its share there, which is the accuracy of always saying it; None where a split has no labels. Where inputs
    are tokens, ``vocabulary`` is how many different ones there are.
    """
    description = data.description
    targets, shape, names = description.targets, description.shape, description.class_names
    if targets is None or shape is None or names is None:
        return None
    train, test = (_shares(targets[split], len(names)) for split in ("train", "test"))
    return {
        "samples": {split: len(target) for split, target in targets.items()},
        "shape": list(shape),
        "classes": len(names),
        "unlabelled": int((targets["train"] < 0).sum()),
        "shares": None if train is None else [min(train), max(train)],
        "largest": None if test is None else {"class": names[test.index(max(test))], "share": max(test)},
        **({} if description.vocabulary is None else {"vocabulary": description.vocabulary}),
    }


def remarks_of(data: Data) -> list[str]:
    """Return what the data say of themselves that should be known, a line each."""
    return [f"  {remark}" for remark in data.description.remarks]


def in_one_line(name: str, data: Data, held: Mapping[str, Any] | None) -> str:
    """Return ``digits: 1,078 / 360 / 359 samples of 1 × 8 × 8 values, 10 classes (9.6 % to 10.2 %)``.

    ``held`` is what ``contents`` says; counts are of train, validation and test, shares of labelled training samples.
    """
    if held is None:
        return f"{name}: data of {type(data.lightning).__name__}, of which only its own loaders know the size"
    samples = " / ".join(f"{count:,}" for count in held["samples"].values())
    shape = " × ".join(map(str, held["shape"]))
    shares = held["shares"]
    range_of_shares = "" if shares is None else f" ({_range(*shares)})"
    unlabelled = f", {held['unlabelled']:,} training samples without label" if held["unlabelled"] else ""
    of_what = f"tokens of {held['vocabulary']:,}" if "vocabulary" in held else "values"
    return f"{name}: {samples} samples of {shape} {of_what}, {held['classes']} classes{range_of_shares}{unlabelled}"


def _range(low: float, high: float) -> str:
    lowest, highest = f"{low:.1%}".replace("%", " %"), f"{high:.1%}".replace("%", " %")
    return f"{lowest} each" if lowest == highest else f"{lowest} to {highest}"


def _shares(target: Tensor, classes: int) -> list[float] | None:
    """The share of each class among the labelled samples; None where there are none."""
    counts = target[target >= 0].bincount(minlength=classes)
    total = int(counts.sum())
    return [count / total for count in counts.tolist()] if total else None
