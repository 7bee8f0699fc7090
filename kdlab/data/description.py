"""What is known of data: in one object, whoever made the data module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
        }
        return {name: value for name, value in handed.items() if value is not None}
