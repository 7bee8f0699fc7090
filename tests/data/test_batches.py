import pytest
import torch

from kdlab.data.batches import as_batch

INPUTS = torch.zeros(3, 2)
TARGET = torch.tensor([0, 1, 0])


def test_a_whole_dict_passes_through() -> None:
    batch = {"inputs": INPUTS, "target": TARGET, "anything": torch.ones(3)}
    assert as_batch(batch) is batch


@pytest.mark.parametrize("batch", [(INPUTS, TARGET), [INPUTS, TARGET]])
def test_a_pair_is_named(batch: object) -> None:
    named = as_batch(batch)
    assert named.keys() == {"inputs", "target"}
    assert named["target"] is TARGET


@pytest.mark.parametrize("batch", [INPUTS, (INPUTS,), {"inputs": INPUTS}])
def test_without_a_target_all_is_unlabelled(batch: object) -> None:
    assert as_batch(batch)["target"].tolist() == [-1, -1, -1]


def test_class_numbers_become_int64() -> None:
    assert as_batch((INPUTS, TARGET.to(torch.uint8)))["target"].dtype == torch.int64


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": INPUTS, "label": TARGET}, r"no inputs, only \['image', 'label'\]"),
        ((INPUTS, TARGET, TARGET), "3 parts has no names"),
        ((INPUTS, torch.rand(3)), "regression and multi-label are not supported"),
        ((INPUTS, torch.zeros(3, 4, dtype=torch.int64)), "regression and multi-label are not supported"),
        ((INPUTS, TARGET[:2]), "for 3 inputs"),
    ],
)
def test_refuses_what_it_cannot_name(batch: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_batch(batch)


@pytest.mark.parametrize("batch", ["text", (INPUTS, [0, 1, 0]), {"inputs": [1.0], "target": TARGET}])
def test_refuses_other_types(batch: object) -> None:
    with pytest.raises(TypeError, match="tensor"):
        as_batch(batch)
