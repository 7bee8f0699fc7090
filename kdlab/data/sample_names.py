"""What samples are called, so that people and files can speak of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import overload

Names = Mapping[str, Sequence[str]]


class SampleNames(Sequence[str]):
    """The names in the order of ``index``; where there are none, ``train/0`` and so on, which nobody has to store.

    Args:
        counts: How many samples each split has, the splits in their order.
        names: Of each split's samples; None where the data name none.
    """

    def __init__(self, counts: Mapping[str, int], names: Names | None) -> None:
        self.counts, self.names = dict(counts), names

    def __len__(self) -> int:
        return sum(self.counts.values())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        for split, count in self.counts.items():
            if number < count:
                return f"{split}/{number}" if self.names is None else self.names[split][number]
            number -= count
        raise AssertionError("an index below the sum of all counts lies in one of the splits")


def check_sample_names(data: str, counts: Mapping[str, int], names: Names | None) -> None:
    """Refuse names that are too few, too many or not unique.

    Raises:
        ValueError: It says of which split, or which name.
    """
    if names is None:
        return
    for split, count in counts.items():
        if len(names.get(split, ())) != count:
            raise ValueError(
                f"{data} names {len(names.get(split, ()))} samples of its {split} split, which has {count}"
            )
    name, times = Counter(name for split in counts for name in names[split]).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{data} calls {times} samples {name!r}; no two may have one name")
