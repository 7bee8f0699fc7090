"""Pairs of features that are found in a model, learned, and ranked."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from kdlab.explainers.additive_network import AdditiveNetwork
from kdlab.explainers.interactions import assigned, first_samples, grid, pure, ranked_pairs
from kdlab.modules.joint import Joint
from tests.modules.fitting import equal, fit, student, teacher, weights


class Products(nn.Module):
    """Logits (2 x0 x1 + x2^2 + x3 x4, 0): two interactions, one twice the other, and a curve."""

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        first = 2 * flat[:, 0] * flat[:, 1] + flat[:, 2] ** 2 + flat[:, 3] * flat[:, 4]
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def chosen() -> AdditiveNetwork:
    explainer = AdditiveNetwork(Products(), 6, 2, hidden=8, interactions=2)
    explainer.refit([{"inputs": torch.randn(128, 6)}, {"inputs": torch.randn(128, 6)}])
    return explainer


def test_the_strength_of_a_product_by_hand() -> None:
    inputs = torch.randn(200, 6)
    pairs, strength = ranked_pairs(Products(), inputs, torch.arange(6))
    # The centred logit is half of the first; the mixed difference of 2 x y is 2 (x - mean) (y - mean).
    centred = inputs - inputs.mean(dim=0)
    by_hand = (centred[:, 0] * centred[:, 1]).square().mean().sqrt()
    assert pairs[:2].tolist() == [[0, 1], [3, 4]]
    torch.testing.assert_close(strength[0], by_hand)
    torch.testing.assert_close(strength[2:], torch.zeros(13), atol=1e-5, rtol=0)


def test_pairs_come_of_the_candidates_alone() -> None:
    pairs, _ = ranked_pairs(Products(), torch.randn(20, 6), torch.tensor([4, 0, 3]))
    assert sorted(pairs.tolist()) == [[0, 3], [0, 4], [3, 4]]


def test_images_are_taken_as_their_pixels() -> None:
    pairs, _ = ranked_pairs(Products(), torch.randn(50, 1, 2, 3), torch.arange(6))
    assert pairs[0].tolist() == [0, 1]


def test_what_two_single_parts_say_is_no_interaction() -> None:
    values = grid(torch.linspace(-1, 1, 5)[:, None], torch.linspace(0, 2, 5)[:, None])
    x, y = values[..., 0], values[..., 1]
    additive, product = (3 * x**2 + y)[..., None], (x * y + x - y)[..., None]
    torch.testing.assert_close(pure(additive), torch.zeros(5, 5, 1, 1), atol=1e-6, rtol=0)
    # x y + x - y = x (y - 1) + 2 x - y, and x and y - 1 have mean 0.
    torch.testing.assert_close(pure(product).flatten(), (x * (y - 1)).flatten(), atol=1e-6, rtol=0)


def test_a_slot_keeps_its_pair_while_that_is_strong_enough() -> None:
    ranked = torch.tensor([[0, 1], [2, 3], [4, 5], [0, 2], [1, 3]])
    empty = torch.full((2, 2), -1)
    assert assigned(empty, ranked).tolist() == [[0, 1], [2, 3]]
    # Fourth of four that may stay, and fifth.
    assert assigned(torch.tensor([[0, 2], [1, 3]]), ranked).tolist() == [[0, 2], [0, 1]]
    assert assigned(empty, ranked[:1]).tolist() == [[0, 1], [-1, -1]]


def test_the_pairs_of_the_model_are_chosen_and_start_silent() -> None:
    explainer, inputs = AdditiveNetwork(Products(), 6, 2, hidden=8, interactions=2), torch.randn(300, 6)
    assert not explainer.parts(inputs)[:, 6:].any()
    assert explainer.ranked_interactions() == []
    before = explainer(inputs)
    explainer.refit([{"inputs": inputs}])
    assert explainer.couples.features.tolist() == [[0, 1], [3, 4]]
    torch.testing.assert_close(explainer(inputs), before)
    assert explainer.describe()["pairs_replaced"] == 2.0
    explainer.refit([{"inputs": inputs}])
    assert explainer.describe()["pairs_replaced"] == 0.0


def test_a_pair_given_by_hand_is_not_chosen_again() -> None:
    explainer = AdditiveNetwork(Products(), 6, 2, hidden=8, pairs=[(1, 0)], interactions=1)
    explainer.refit([{"inputs": torch.randn(100, 6)}])
    assert explainer.couples.features.tolist() == [[1, 0], [3, 4]]
    # What is known of it is known of it the other way round, too.
    assert bool(explainer.couples.strength.isfinite().all())


def test_chosen_pairs_learn_the_model_and_are_ranked() -> None:
    explainer = chosen()
    optimizer = torch.optim.Adam(explainer.parameters(), 1e-2)
    losses = []
    for _ in range(400):
        inputs = torch.randn(128, 6)
        optimizer.zero_grad()
        wanted = explainer.model(inputs).log_softmax(dim=1)
        loss = kl_div(explainer(inputs), wanted, log_target=True, reduction="batchmean")
        torch.autograd.backward([loss, *explainer.terms(inputs).values()])
        optimizer.step()
        losses.append(loss.item())
    seen = torch.randn(256, 6)
    explainer.refit([{"inputs": seen}])
    assert losses[-1] < 0.1 * losses[0]
    (first, wide, strong), (second, narrow, weak) = explainer.ranked_interactions()
    assert (first, second) == ("feature 0 & feature 1", "feature 3 & feature 4")
    # In units of the centred logit, which has x0 x1 and x3 x4 / 2, on a grid of the first 64 values of each.
    spread = seen[:64].std(dim=0, correction=0)
    assert wide == pytest.approx(float(spread[0] * spread[1]), rel=0.25)
    assert narrow == pytest.approx(float(spread[3] * spread[4]) / 2, rel=0.15)
    assert strong > 1.5 * weak > 0
    assert explainer.describe()["strongest_interaction"] == pytest.approx(wide)
    lines = explainer.text().splitlines()
    assert lines[-2].endswith("feature 0 & feature 1")
    assert lines[-1].endswith("feature 3 & feature 4")
    titles = [axes.get_title() for axes in explainer.figure().axes]
    assert sum("&" in title for title in titles) == 2


def test_chosen_pairs_are_saved_with_the_weights() -> None:
    explainer, inputs = chosen(), torch.randn(10, 6)
    fresh = AdditiveNetwork(Products(), 6, 2, hidden=8, interactions=2)
    fresh.load_state_dict(explainer.state_dict())
    assert torch.equal(fresh(inputs), explainer(inputs))
    assert fresh.text() == explainer.text()


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def explainer(model: nn.Module) -> AdditiveNetwork:
        return AdditiveNetwork(model, 64, 3, hidden=4, interactions=3, candidates=8)

    whole, first, second = (Joint(student(), explainer, teacher()) for _ in range(3))
    fit(whole, epochs=3)
    fit(first, epochs=1, save=tmp_path / "first.ckpt")
    fit(second, epochs=3, resume=tmp_path / "first.ckpt")
    assert equal(weights(whole.explainer), weights(second.explainer))
    assert bool((whole.explainer.state_dict()["couples.features"] >= 0).all())


def test_without_chosen_pairs_nothing_is_read_and_nothing_more_is_saved() -> None:
    explainer = AdditiveNetwork(Products(), 6, 2, hidden=8, pairs=[(0, 1)])
    explainer.refit(iter([]))
    assert not any("features" in name or "spread" in name for name in explainer.state_dict())


def test_no_batch_and_more_pairs_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        first_samples([], 5)
    with pytest.raises(ValueError, match=r"interactions must lie in 0\.\.15, the pairs of 6 features, got 16"):
        AdditiveNetwork(Products(), 6, 2, interactions=16)
    with pytest.raises(ValueError, match=r"0\.\.3, the pairs of 3 features"):
        AdditiveNetwork(Products(), 6, 2, interactions=4, candidates=3)


def test_only_as_many_samples_are_read_as_are_needed() -> None:
    batches = iter([{"inputs": torch.ones(4, 2)}, {"inputs": torch.ones(4, 2)}, {"inputs": torch.ones(4, 2)}])
    assert len(first_samples(batches, 6)) == 8
    assert len(list(batches)) == 1
