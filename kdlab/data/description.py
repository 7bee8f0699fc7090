"""What is known of data: in one object, whoever made the data module."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdlab.data.preparation import Preparation


@dataclass(frozen=True, eq=False)
class Description:
    """What is known of data; None where nobody knows it.

    Args:
        classes: How many there are.
        shape: Of one input.
        class_names: In the order of the class numbers; those numbers where the data only count their classes.
        feature_names: Of a table's columns, or of a series' channels.
        preparation: The way from inputs back to the units that people know.
        baseline: One input that stands for "nothing there".
        targets: Class numbers by split, -1 where a sample has no label.
        remarks: What a person should know of the content, a line each.
        sample_names: What the samples are called, by ``index``.
        vocabulary: How many tokens there are, where inputs are token numbers.
        masked: Whether a person has marked the evidence in every sample that is scored.
    """

    classes: int | None = None
    shape: tuple[int, ...] | None = None
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    preparation: Preparation | None = None
    baseline: Tensor | None = None
    targets: Mapping[str, Tensor] | None = None
    remarks: Sequence[str] = ()
    sample_names: Sequence[str] | None = None
    vocabulary: int | None = None
    masked: bool = False

    @property
    def own_class_names(self) -> list[str] | None:
        """What the data call their classes; None where they only count them."""
        counted = self.class_names == [str(number) for number in range(self.classes or 0)]
        return None if counted else self.class_names

    def handed(self) -> dict[str, Any]:
        """Return what is handed to every constructor that asks for it by name; what is not known is left out."""
        handed = {
            "class_names": self.own_class_names,
            "feature_names": self.feature_names,
            "preparation": self.preparation,
            "groups": None if self.preparation is None else self.preparation.groups,
            "sample_names": self.sample_names,
            "sample_targets": None if self.targets is None else torch.cat(list(self.targets.values())),
            "classes": self.classes,
            "shape": self.shape,
            "vocabulary": self.vocabulary,
            **({} if self.shape is None else sizes_of(self.shape)),
        }
        return {name: value for name, value in handed.items() if value is not None}


def sizes_of(shape: tuple[int, ...]) -> dict[str, int]:
    """Return what is counted of one input: ``inputs`` values, and ``channels`` and ``length`` where it has such.

    Images are (channels, height, width), series (channels, length), tables (inputs,) and texts (length,).
    """
    sizes = {"inputs": math.prod(shape)}
    if len(shape) in (2, 3):
        sizes["channels"] = shape[0]
    if len(shape) in (1, 2):
        sizes["length"] = shape[-1]
    return sizes
