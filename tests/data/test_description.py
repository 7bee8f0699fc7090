"""What is known of data, and what of it is handed to constructors that ask for it by name."""

import pytest
import torch
from torch import Tensor

from kdlab.data.base import SPLITS
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.description import Description
from tests.data.made_up import MadeUp


class Masked(MadeUp):
    """With the evidence marked in some splits.

    Args:
        splits: Which.
    """

    def __init__(self, splits: tuple[str, ...]) -> None:
        super().__init__((4,), 3, (6, 5, 4))
        self.masked = splits

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        for split in self.masked:
            splits[split]["mask"] = torch.ones_like(splits[split]["inputs"])
        return splits


def test_data_hand_out_the_names_that_they_have() -> None:
    handed = BreastCancer().description.handed()
    assert handed["class_names"] == ["malignant", "benign"]
    assert handed["feature_names"][:2] == ["mean radius", "mean texture"]
    assert len(handed["feature_names"]) == 30
    assert handed["preparation"].name(22) == "worst perimeter"


def test_names_that_only_count_are_none() -> None:
    always = {"preparation", "sample_names", "sample_targets", "classes", "shape", "inputs"}
    assert MadeUp(classes=3).description.handed().keys() == {*always, "channels"}
    handed = MadeUp(shape=(4,), classes=3).description.handed()
    assert handed.keys() == {*always, "length", "feature_names", "groups"}
    assert handed["feature_names"] == ["column0", "column1", "column2", "column3"]
    assert Description().handed() == {}


def test_samples_are_called_by_split_and_number_in_the_order_of_their_index() -> None:
    names = MadeUp((4,), 3, (6, 5, 4)).description.sample_names
    assert names is not None
    assert len(names) == 15
    assert (
        list(names)
        == names[:]
        == [f"{split}/{n}" for split, c in zip(SPLITS, (6, 5, 4), strict=True) for n in range(c)]
    )
    assert (names[-1], names[5:7]) == ("test/3", ["train/5", "val/0"])
    with pytest.raises(IndexError):
        names[15]


class Called(MadeUp):
    """Samples with names of their own."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        super().__init__((4,), 2, (3, 2, 2))
        self.names = names

    def load(self) -> dict[str, dict[str, Tensor]]:
        self.sample_names = self.names
        return super().load()


def test_own_names_of_samples_are_theirs_and_part_of_the_content() -> None:
    names = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"]}
    data = Called(names)
    handed = data.description.handed()["sample_names"]
    assert [handed[index] for index in data.splits["val"]["index"].tolist()] == ["d", "e"]
    assert "".join(handed) == "abcdefg"
    swapped = Called({**names, "val": ["e", "d"]})
    assert data.content_hash() != swapped.content_hash()
    assert data.content_hash() != MadeUp((4,), 2, (3, 2, 2)).content_hash()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val": ["d"]}, "Called names 1 samples of its val split, which has 2"),
        ({"test": ["a", "g"]}, "Called calls 2 samples 'a'; no two may have one name"),
    ],
)
def test_names_of_samples_that_are_too_few_or_not_unique_are_refused(
    changed: dict[str, list[str]], message: str
) -> None:
    names = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"], **changed}
    with pytest.raises(ValueError, match=message):
        Called(names).setup()


@pytest.mark.parametrize(
    ("names", "own"),
    [(["0", "1"], None), (["1", "0"], ["1", "0"]), (["cat", "dog"], ["cat", "dog"]), (None, None)],
)
def test_classes_have_names_of_their_own_unless_they_are_counted(
    names: list[str] | None, own: list[str] | None
) -> None:
    assert Description(classes=2, class_names=names).own_class_names == own


def test_a_data_module_tells_all_that_it_knows() -> None:
    data = MadeUp((4,), 3, (6, 5, 4))
    description = data.description
    assert (description.classes, description.shape, description.masked) == (3, (4,), False)
    assert description.class_names == ["0", "1", "2"]
    assert description.baseline is data.baseline
    assert description.targets is not None
    assert {split: target.tolist() for split, target in description.targets.items()} == {
        "train": [0, 1, 2, 0, 1, 2],
        "val": [0, 1, 2, 0, 1],
        "test": [0, 1, 2, 0],
    }


def test_what_is_known_of_a_labelled_part_is_of_that_part() -> None:
    targets = MadeUp((4,), 3, (6, 5, 4)).arranged(0, labelled=3).description.targets
    assert targets is not None
    assert int((targets["train"] < 0).sum()) == 3


@pytest.mark.parametrize(
    ("splits", "masked"),
    [((), False), (("val",), False), (("test",), False), (("val", "test"), True), (("train", "val", "test"), True)],
)
def test_data_are_masked_where_every_sample_that_is_scored_is(splits: tuple[str, ...], masked: bool) -> None:
    assert Masked(splits).description.masked == masked
