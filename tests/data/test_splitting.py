import pytest
import torch

from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_order, stratified_parts


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


def test_addresses_are_unrelated_streams() -> None:
    def draw(*address: int | str) -> list[float]:
        return torch.rand(3, generator=generator_at(*address)).tolist()

    assert draw("order", 1, 2) == draw("order", 1, 2)
    assert (
        len({tuple(draw(*address)) for address in [("order", 1, 2), ("order", 2, 1), ("augment", 1, 2), ("order", 12)]})
        == 4
    )
