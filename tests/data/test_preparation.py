import pytest
import torch

from kdlab.data.preparation import sizes_of, standardise, stratified_order, stratified_parts
from kdlab.data.seeding import generator_at


def test_every_beginning_of_the_order_is_stratified() -> None:
    target = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100)]
    order = stratified_order(target, generator_at("a"))
    assert order.sort().values.tolist() == list(range(100))
    assert set(target[order[:3]].tolist()) == {0, 1, 2}
    for length in (10, 20, 50, 90):
        counts = target[order[:length]].bincount(minlength=3)
        wanted = torch.tensor([0.6, 0.3, 0.1]) * length
        assert ((counts - wanted).abs() <= 2).all(), (length, counts)


def test_parts_cover_all_and_the_first_holds_a_lone_class() -> None:
    target = torch.tensor([0] * 10 + [1] * 9 + [7])
    parts = stratified_parts(target, (12, 4, 4), generator_at("b"))
    assert torch.cat(parts).sort().values.tolist() == list(range(20))
    assert 19 in parts[0]
    with pytest.raises(ValueError, match="20 samples cannot be split"):
        stratified_parts(target, (12, 4), generator_at("b"))


def test_sizes_add_up() -> None:
    assert sizes_of(1797, (0.6, 0.2, 0.2)) == [1078, 360, 359]
    assert sum(sizes_of(7, (1 / 3, 1 / 3, 1 / 3))) == 7


def test_standardises_by_hand_with_the_training_split() -> None:
    # train column (1, 3): mean 2, standard deviation 1; test value 6 is 4 deviations above.
    splits = {"train": {"inputs": torch.tensor([[1.0], [3.0]])}, "test": {"inputs": torch.tensor([[6.0]])}}
    result = standardise(splits)
    assert result["train"]["inputs"].tolist() == [[-1.0], [1.0]]
    assert result["test"]["inputs"].tolist() == [[4.0]]


def test_images_are_standardised_by_channel_and_tiny_scales_survive() -> None:
    images = torch.randn(50, 2, 4, 4, dtype=torch.float64) * torch.tensor([1e-15, 1e6]).view(1, 2, 1, 1) + 0.0
    inputs = standardise({"train": {"inputs": images}})["train"]["inputs"]
    torch.testing.assert_close(inputs.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)


def test_addresses_are_unrelated_streams() -> None:
    def draw(*address: int | str) -> list[float]:
        return torch.rand(3, generator=generator_at(*address)).tolist()

    assert draw("order", 1, 2) == draw("order", 1, 2)
    assert (
        len({tuple(draw(*address)) for address in [("order", 1, 2), ("order", 2, 1), ("augment", 1, 2), ("order", 12)]})
        == 4
    )
