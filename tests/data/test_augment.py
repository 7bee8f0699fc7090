from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdlab.configuration.document import Document
from kdlab.configuration.type_check import check_class
from kdlab.data.augment import Noise, ShiftFlip
from kdlab.data.base import DataModule
from kdlab.data.seeding import generator_at


def images() -> dict[str, Tensor]:
    inputs = torch.zeros(64, 2, 6, 7)
    inputs[:, 0, 2, 3] = 1.0
    return {"inputs": inputs, "target": torch.zeros(64, dtype=torch.int64), "mask": inputs[:, 0] > 0}


def test_moves_by_whole_pixels_and_the_mask_along() -> None:
    batch = images()
    moved = ShiftFlip(shift=2)(batch, generator_at("a"))
    places = moved["inputs"][:, 0].nonzero()
    assert len(places) == 64
    assert places[:, 1].unique().tolist() == [0, 1, 2, 3, 4]
    assert places[:, 2].unique().tolist() == [1, 2, 3, 4, 5]
    assert torch.equal(moved["mask"], moved["inputs"][:, 0] > 0)
    assert moved["mask"].dtype == torch.bool
    assert torch.equal(batch["inputs"], images()["inputs"]), "the batch itself was changed"


def test_mirrors_about_half_of_the_images() -> None:
    inputs = torch.arange(5.0).expand(200, 1, 3, 5)
    mirrored = ShiftFlip(shift=0, flip=True)({"inputs": inputs}, generator_at("b"))["inputs"]
    kept = (mirrored == inputs).all(dim=(1, 2, 3))
    assert 60 < int(kept.sum()) < 140
    assert torch.equal(mirrored[~kept], inputs[~kept].flip(-1))


def test_the_edge_is_repeated_into_the_gap() -> None:
    inputs = torch.full((30, 1, 4, 4), -0.7)
    assert torch.equal(ShiftFlip(shift=3)({"inputs": inputs}, generator_at("c"))["inputs"], inputs)


def test_noise_has_its_standard_deviation() -> None:
    noise = Noise(0.5)({"inputs": torch.zeros(4000, 3)}, generator_at("d"))["inputs"]
    torch.testing.assert_close(noise.std(), torch.tensor(0.5), atol=0.02, rtol=0)


@pytest.mark.parametrize("augment", [ShiftFlip(1, flip=True), Noise(0.1)])
def test_draws_from_the_generator_alone(augment: ShiftFlip | Noise) -> None:
    before = torch.random.get_rng_state()
    first, second = (augment(images(), generator_at("e", 1))["inputs"] for _ in range(2))
    other = augment(images(), generator_at("e", 2))["inputs"]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_refuses_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="needs images"):
        ShiftFlip()({"inputs": torch.zeros(3, 5)}, generator_at("f"))
    with pytest.raises(ValueError, match="another size"):
        ShiftFlip()({"inputs": torch.zeros(3, 1, 5, 5), "mask": torch.zeros(3, 4, 4)}, generator_at("f"))
    with pytest.raises(ValueError, match="0 or more"):
        ShiftFlip(shift=-1)
    with pytest.raises(ValueError, match="0 or more"):
        Noise(-0.1)


def test_is_chosen_by_class_path_in_yaml() -> None:
    augment = {"class_path": "ShiftFlip", "init_args": {"shift": 2}}
    chosen = {"class_path": "Digits", "init_args": {"augment": augment}}
    data = check_class(chosen, [DataModule], Document(Path("some.yaml"), {}) / "data").build()
    assert isinstance(data.augment, ShiftFlip)
    assert data.augment.shift == 2
