from collections.abc import Callable
from itertools import chain

import pytest
import torch
from torch import Tensor

from kdlab.data import loader as loader_module
from kdlab.data.augment import Noise
from kdlab.data.loader import ShuffledLoader, TensorLoader

SetPlace = Callable[[int, int], None]


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> SetPlace:
    """Makes this process rank r of n."""
    return lambda rank, ranks: monkeypatch.setattr(loader_module, "place", lambda: (rank, ranks))


def tensors(samples: int) -> dict[str, Tensor]:
    return {"inputs": torch.arange(samples).float()[:, None], "index": torch.arange(samples)}


def indices(loader: TensorLoader) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


def test_yields_each_sample_once_in_order() -> None:
    loader = TensorLoader(tensors(7), batch_size=3)
    assert indices(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(loader) == 3


@pytest.mark.parametrize("samples", [2, 3, 7, 8, 9, 16, 33, 65])
@pytest.mark.parametrize(("batch_size", "ranks"), [(2, 2), (8, 2), (12, 3), (64, 2)])
def test_ranks_share_validation_without_padding(samples: int, batch_size: int, ranks: int, stand: SetPlace) -> None:
    if samples < ranks:
        pytest.skip("refused, see below")
    seen, lengths, promised = [], set(), set()
    for rank in range(ranks):
        stand(rank, ranks)
        loader = TensorLoader(tensors(samples), batch_size)
        batches = indices(loader)
        assert all(batches), "an empty batch"
        lengths.add(len(batches))
        promised.add(len(loader))
        seen += [index for batch in batches for index in batch]
    assert sorted(seen) == list(range(samples))
    assert lengths == promised
    assert len(lengths) == 1, "ranks with different numbers of batches wait for each other for ever"


def test_ranks_train_on_slices_of_one_global_batch(stand: SetPlace) -> None:
    whole = indices(ShuffledLoader(tensors(21), batch_size=6, seed=0))
    parts = []
    for rank in range(3):
        stand(rank, 3)
        parts.append(indices(ShuffledLoader(tensors(21), batch_size=6, seed=0)))
    assert [list(chain(*slices)) for slices in zip(*parts, strict=True)] == whole


def test_a_batch_size_that_ranks_do_not_divide_is_refused(stand: SetPlace) -> None:
    stand(0, 3)
    with pytest.raises(ValueError, match="batch_size 8 is for all devices together; 3 do not divide it"):
        len(ShuffledLoader(tensors(20), batch_size=8, seed=0))
    with pytest.raises(ValueError, match="2 samples cannot be divided over 3 ranks"):
        len(TensorLoader(tensors(2), batch_size=9))


def test_training_drops_the_incomplete_batch() -> None:
    loader = ShuffledLoader(tensors(10), batch_size=4, seed=0)
    assert len(loader) == 2
    assert [len(batch) for batch in indices(loader)] == [4, 4]


def test_rows_are_cycled_for_whole_passes_in_new_orders() -> None:
    rows = torch.tensor([1, 5, 6])
    loader = ShuffledLoader(tensors(12), batch_size=3, seed=0, rows=rows)
    passes = indices(loader)
    assert len(passes) == 4
    assert all(sorted(batch) == [1, 5, 6] for batch in passes)
    assert len({tuple(batch) for batch in passes}) > 1


def test_a_state_belongs_to_its_epoch() -> None:
    loader = ShuffledLoader(tensors(12), batch_size=3, seed=0)
    state = {**loader.state_dict(), "epoch": 1, "served": 2}
    loader.load_state_dict(state)
    loader.set_epoch(2)
    assert len(indices(loader)) == 4
    loader.load_state_dict(state)
    loader.set_epoch(1)
    assert len(indices(loader)) == 2
    assert len(indices(loader)) == 4, "only the first iteration is a continuation"


def test_a_new_epoch_forgets_how_far_the_last_one_went() -> None:
    loader = ShuffledLoader(tensors(12), batch_size=3, seed=0)
    indices(loader)
    assert loader.state_dict()["served"] == 4
    loader.set_epoch(1)
    assert loader.state_dict()["served"] == 0


def test_the_epoch_is_read_at_the_first_batch_not_when_the_iterator_is_made() -> None:
    loader = ShuffledLoader(tensors(12), batch_size=3, seed=0)
    iterator = iter(loader)
    loader.set_epoch(5)
    late = [batch["index"].tolist() for batch in iterator]
    assert late == indices(loader)


def test_augmentation_draws_anew_for_seed_epoch_and_batch() -> None:
    def inputs(seed: int, epoch: int) -> Tensor:
        rows = torch.zeros(1, dtype=torch.int64)  # one sample over and over, so that only the draw differs
        loader = ShuffledLoader({"inputs": torch.zeros(6, 2)}, 2, seed, rows, Noise(1.0))
        loader.set_epoch(epoch)
        return torch.stack([batch["inputs"] for batch in loader])

    first = inputs(0, 0)
    assert torch.equal(first, inputs(0, 0))
    assert not torch.equal(first, inputs(0, 1))
    assert not torch.equal(first, inputs(1, 0))
    assert not torch.equal(first[0], first[1])


def test_refuses_the_state_of_other_data() -> None:
    state = ShuffledLoader(tensors(12), batch_size=3, seed=0).state_dict()
    with pytest.raises(ValueError, match=r"checkpoint's loader has \{'batch_size': 3\}"):
        ShuffledLoader(tensors(12), batch_size=4, seed=0).load_state_dict(state)


def test_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    indices(ShuffledLoader(tensors(12), batch_size=3, seed=0))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("data", "batch_size", "message"),
    [
        (tensors(3), 4, "larger than the 3 training samples"),
        (tensors(3), 0, "at least 1"),
        ({"inputs": torch.zeros(3), "index": torch.zeros(2)}, 1, "of one length"),
        ({"inputs": torch.zeros(0)}, 1, "of one length, at least 1"),
    ],
)
def test_refuses_what_makes_no_batch(data: dict[str, Tensor], batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShuffledLoader(data, batch_size, seed=0)


def test_each_epoch_and_each_seed_has_an_order_of_its_own_over_the_same_samples() -> None:
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        loader = ShuffledLoader({"inputs": torch.arange(32)}, 8, seed)
        loader.set_epoch(epoch)
        orders.append(torch.cat([batch["inputs"] for batch in loader]).tolist())
    assert all(sorted(order) == list(range(32)) for order in orders)
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_one_whole_batch_is_enough_and_no_row_is_not() -> None:
    assert len(ShuffledLoader(tensors(3), 3, seed=0)) == 1
    with pytest.raises(ValueError, match="no labelled training sample to draw from; ask for at least one"):
        ShuffledLoader(tensors(3), 1, seed=0, rows=torch.zeros(0, dtype=torch.int64))


def test_the_whole_is_each_row_once_in_the_order_of_the_data() -> None:
    loader = ShuffledLoader(tensors(6), 4, seed=0, rows=torch.tensor([1, 4, 5]))
    assert loader.whole()["index"].tolist() == [1, 4, 5]
    assert ShuffledLoader(tensors(6), 4, seed=0).whole()["index"].tolist() == list(range(6))


def test_nothing_was_served_before_the_first_batch() -> None:
    loader = ShuffledLoader(tensors(6), 2, seed=0)
    assert loader.state_dict()["served"] == 0
    batches = iter(loader)
    next(batches)
    assert loader.state_dict()["served"] == 1
