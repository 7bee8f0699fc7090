"""The engine: chunks, modes, and what it leaves behind."""

import pytest
import torch
from torch import Tensor, nn

from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.scorer import CPU_ROWS, Scorer, rows_per_chunk, tiles
from tests.metrics.cases import signals_of
from tests.metrics.linear import FIRST, ONES, WEIGHTS, ZERO, weighted


@pytest.mark.parametrize("batch", [1, 5, 8])
@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 100])
def test_tiles_cover_every_version_of_every_sample_once_and_in_order(batch: int, count: int, chunk: int) -> None:
    table = torch.arange(batch * count).reshape(batch, count)
    found = [table[samples, versions] for samples, versions in tiles(batch, count, chunk)]
    assert torch.cat([tile.flatten() for tile in found]).tolist() == table.flatten().tolist()
    assert max(tile.numel() for tile in found) <= chunk


@pytest.mark.parametrize("chunk", [1, 4, 10, 1000])
def test_the_chunk_changes_no_score(chunk: int) -> None:
    signals = signals_of((9,))
    asked = [signals[name] for name in ("model", "inputs", "attributions", "explained", "baseline")]
    one, other = DeletionAUC(), DeletionAUC(chunk=chunk)
    one.update(*asked)
    other.update(*asked)
    torch.testing.assert_close(one.latest, other.latest)


def test_no_chunk_is_larger_than_asked() -> None:
    seen: list[int] = []

    def model(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        return weighted()(inputs)

    DeletionAUC(chunk=5).update(model, ONES.expand(7, 3), WEIGHTS.expand(7, 3), FIRST.expand(7), ZERO)
    assert max(seen) <= 5
    assert sum(seen) == 7 * 4


def test_chunks_are_small_where_a_row_makes_many_activations() -> None:
    table = nn.Sequential(nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 4))
    images = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
    with torch.inference_mode():
        assert 1024 <= rows_per_chunk(table, torch.zeros(1, 30)) <= CPU_ROWS
        assert 16 <= rows_per_chunk(images, torch.zeros(1, 1, 28, 28)) <= 64


def test_weights_that_an_operation_only_views_count_nothing() -> None:
    wide = nn.Linear(1000, 10)
    with torch.no_grad():
        assert rows_per_chunk(wide, torch.zeros(1, 1000)) == CPU_ROWS


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        self.frozen = nn.BatchNorm1d(3).eval()

    def forward(self, inputs: Tensor) -> Tensor:
        torch.rand(1)
        raise RuntimeError("stop")


def test_modes_and_random_state_are_restored_after_an_error() -> None:
    model, state = Failing(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"):
        Scorer(model, ONES, FIRST).clean()
    assert model.training
    assert model.dropout.training
    assert not model.frozen.training
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_that_returns_no_logits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the model must return \(batch, classes\), got \(1,\)"):
        Scorer(lambda inputs: inputs.sum(dim=1), ONES, FIRST).clean()


def test_the_score_is_the_probability_or_the_logit_of_the_explained_class() -> None:
    for explained, logit in ((0, 6.0), (1, 0.0)):
        target = torch.tensor([explained])
        assert Scorer(weighted(), ONES, target, on_logits=True).clean() == logit
        probability = torch.tensor([6.0, 0.0]).softmax(dim=0)[explained]
        torch.testing.assert_close(Scorer(weighted(), ONES, target).clean()[0], probability)


def test_a_saturated_probability_stays_a_number() -> None:
    score = Scorer(weighted(1e4 * WEIGHTS), ONES, torch.tensor([1])).clean()
    assert score == 0.0
