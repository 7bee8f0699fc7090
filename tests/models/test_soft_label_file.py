"""A network that knows the data's samples alone: which row is whose, which column, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdlab.models.soft_label_file import SoftLabelFile

NAMES = ["train/0", "train/1", "test/0"]
TEXT = "id,dog,cat\ntest/0,0.1,0.9\ntrain/1,1,0\ntrain/0,0.25,0.75\nelse,0.5,0.5\n"


def made(folder: Path, text: str = TEXT, **arguments: Any) -> SoftLabelFile:
    (folder / "soft.csv").write_text(text)
    given = {"classes": 2, "sample_names": NAMES, "class_names": ["cat", "dog"], "holds": "probabilities", **arguments}
    return SoftLabelFile(str(folder / "soft.csv"), **given)


def test_each_sample_has_its_own_row_and_each_class_its_own_column(tmp_path: Path) -> None:
    network = made(tmp_path)
    expected = torch.tensor([[0.9, 0.1], [0.75, 0.25], [1e-6, 1.0]]).log()
    torch.testing.assert_close(network.of_samples(torch.tensor([2, 0, 1])), expected)
    torch.testing.assert_close(network.logits.softmax(1)[0], torch.tensor([0.75, 0.25]))
    assert list(network.state_dict()) == ["logits"]


def test_logits_are_taken_as_they_are(tmp_path: Path) -> None:
    network = made(tmp_path, TEXT.replace("dog,cat", "logit:dog,logit:cat"), holds=None)
    assert network.logits.tolist() == [[0.75, 0.25], [0.0, 1.0], [pytest.approx(0.9), pytest.approx(0.1)]]


def test_classes_that_are_only_counted_are_called_by_their_numbers(tmp_path: Path) -> None:
    network = made(tmp_path, TEXT.replace("dog,cat", "1,0"), class_names=None)
    torch.testing.assert_close(network.logits.softmax(1)[0], torch.tensor([0.75, 0.25]))


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "missing samples": (
        TEXT,
        {"sample_names": [*NAMES, "val/0", "val/1"]},
        "no soft labels of 2 of 5 samples, such as 'val/0'",
    ),
    "not said": (TEXT, {"holds": None}, "does not say what it holds; write holds: logits, or holds: probabilities"),
    "said otherwise": (
        TEXT.replace("dog,cat", "logit:dog,logit:cat"),
        {},
        "says that it holds logits, and holds: prob",
    ),
    "other classes": (TEXT, {"class_names": ["cat", "cow"]}, r"\['dog', 'cat'\], and the data \['cat', 'cow'\]"),
    "fewer classes": (TEXT, {"classes": 3, "class_names": ["cat", "cow", "dog"]}, "has the classes"),
    "a sum of more than 1": (TEXT.replace("0.25", "0.3"), {}, "1 rows .* such as 'train/0', which sums to 1.05"),
    "below 0": (TEXT.replace("1,0\n", "1.1,-0.1\n"), {}, "such as 'train/1', which sums to 1 with -0.1 the least"),
}


TOP = "id,dog,cat,cow\ntest/0,,0.9,\ntrain/1,1,,0\ntrain/0,0.25,0.7,0.05\n"


def test_classes_that_a_sample_leaves_out_share_the_rest_evenly(tmp_path: Path) -> None:
    network = made(tmp_path, TOP, classes=3, class_names=["cat", "cow", "dog"])
    expected = torch.tensor([[0.7, 0.05, 0.25], [0.0, 0.0, 1.0], [0.9, 0.05, 0.05]])
    torch.testing.assert_close(network.logits.exp(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test/0,,0.9,", "test/0,,,", "1 rows are no probabilities, such as 'test/0', which sums to 0"),
        ("test/0,,0.9,", "test/0,,1.1,", "such as 'test/0', which sums to 1.1"),
        ("0.25,0.7,0.05", "0.25,0.7,0", "such as 'train/0', which sums to 0.95"),
        ("dog,cat,cow", "logit:dog,logit:cat,logit:cow", "leaves out logits, as of the sample 'train/1'; only prob"),
    ],
)
def test_a_rest_that_is_none_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    holds = None if "logit" in new else "probabilities"
    with pytest.raises(ValueError, match=message):
        made(tmp_path, TOP.replace(old, new), classes=3, class_names=["cat", "cow", "dog"], holds=holds)


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_the_data_is_refused(tmp_path: Path, name: str) -> None:
    text, arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        made(tmp_path, text, **arguments)


LABELLED = "id,label,dog,cat\ntest/0,cat,0.1,0.9\ntrain/1,,1,0\ntrain/0,dog,0.25,0.75\n"


@pytest.mark.parametrize("targets", [[1, 0, 0], [1, 1, 0], [-1, 1, -1]])
def test_labels_that_are_the_data_s_or_unknown_to_one_side_are_taken(tmp_path: Path, targets: list[int]) -> None:
    network = made(tmp_path, LABELLED, sample_targets=torch.tensor(targets))
    assert torch.equal(network.logits, made(tmp_path).logits)


@pytest.mark.parametrize(("text", "targets"), [(LABELLED, None), (TEXT, torch.tensor([0, 0, 1]))])
def test_labels_that_one_side_lacks_are_no_matter(tmp_path: Path, text: str, targets: torch.Tensor | None) -> None:
    assert torch.equal(made(tmp_path, text, sample_targets=targets).logits, made(tmp_path).logits)


@pytest.mark.parametrize("class_names", [["cat", "dog"], ["dog", "cat"]])
def test_columns_follow_the_order_of_the_data_s_classes(tmp_path: Path, class_names: list[str]) -> None:
    network = made(tmp_path, class_names=class_names)
    assert network.logits[0].exp().tolist() == pytest.approx([{"cat": 0.75, "dog": 0.25}[name] for name in class_names])


def test_columns_without_names_stand_in_the_order_of_the_class_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "soft.npz", id=np.array(NAMES), logits=np.arange(6).reshape(3, 2))
    network = SoftLabelFile(str(tmp_path / "soft.npz"), 2, NAMES, ["cat", "dog"])
    assert network.logits.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"has 2 classes, and the data \['a', 'b', 'c'\]"):
        SoftLabelFile(str(tmp_path / "soft.npz"), 3, NAMES, ["a", "b", "c"])


def test_a_file_of_another_split_is_noticed_by_its_labels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other labels than the data to 1 of 3 samples, such as 'cat' to 'test/0'"):
        made(tmp_path, LABELLED, sample_targets=torch.tensor([1, 0, 1]))


def test_any_other_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds soft labels of the data's own samples, so .* no other input"):
        made(tmp_path)(torch.zeros(1, 4))
