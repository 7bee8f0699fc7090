"""Agreement is not invented from ties: expected values over all orders, and no score by where a feature is stored."""

from collections.abc import Callable, Iterator
from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from kdlab.metrics.attribution_agreement import rank_agreement, sign_agreement, top_k_iou
from kdlab.metrics.faithfulness_correlation import faithfulness_correlation
from kdlab.metrics.infidelity import infidelity
from kdlab.metrics.interaction_strength import interaction_strength
from kdlab.metrics.localisation import pointing_game, relevance_rank_accuracy
from kdlab.metrics.masking import draw_subsets
from kdlab.metrics.road import ROAD
from kdlab.metrics.sensitivity import relative_moves
from kdlab.testing.metrics import check_order_of_features, scores
from tests.metrics import cases

FEATURES = 5


def orders(values: list[float]) -> Iterator[list[int]]:
    """Yield every order of the features in which sizes fall, equal ones in each order; zeros are no features."""
    for order in permutations(range(len(values))):
        sizes = [abs(values[place]) for place in order]
        if sizes == sorted(sizes, reverse=True):
            yield [place for place in order if values[place] != 0]


def over_orders(
    first: list[float], second: list[float], value: Callable[[list[int], list[int]], float]
) -> tuple[float, int]:
    """Return the mean of a value over all pairs of orders, and how many pairs there are."""
    found = [value(one, other) for one, other in product(list(orders(first)), list(orders(second)))]
    return sum(found) / len(found), len(found)


def iou(one: list[int], other: list[int], k: int) -> float:
    a, b = set(one[:k]), set(other[:k])
    return len(a & b) / len(a | b)


def drawn_pairs() -> list[tuple[list[float], list[float]]]:
    generator = torch.Generator().manual_seed(3)
    pairs = torch.randint(-2, 3, (40, 2, FEATURES), generator=generator).float()
    return [(a.tolist(), b.tolist()) for a, b in pairs if a.any() and b.any()]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_agreements_are_the_expected_values_over_all_orders_of_equal_entries(share: float) -> None:
    assert len(drawn_pairs()) > 30
    for first, second in drawn_pairs():
        candidates = sum(a != 0 or b != 0 for a, b in zip(first, second, strict=True))
        k = max(1, -int(-round(share * candidates, 9) // 1))
        maps = torch.tensor([first]), torch.tensor([second])

        def signs(one: list[int], other: list[int]) -> float:
            return sum(first[i] * second[i] > 0 for i in set(one[:k]) & set(other[:k])) / k  # noqa: B023  used at once

        def ranks(one: list[int], other: list[int]) -> float:
            return sum(a == b for a, b in zip(one[:k], other[:k], strict=False)) / k  # noqa: B023  used at once

        def overlap(one: list[int], other: list[int]) -> float:
            return iou(one, other, k)  # noqa: B023  used at once

        for score, naive in ((top_k_iou, overlap), (sign_agreement, signs), (rank_agreement, ranks)):
            expected, count = over_orders(first, second, naive)
            assert count >= 1
            assert score(*maps, share).item() == pytest.approx(expected, abs=1e-6), (score.__name__, first, second)


@pytest.mark.parametrize("absolute", [True, False])
def test_localisation_is_the_expected_value_over_all_orders_of_equal_entries(absolute: bool) -> None:
    for values, marks in drawn_pairs():
        inside = {place for place, mark in enumerate(marks) if mark > 0}
        relevance = [abs(value) if absolute else max(value, 0.0) for value in values]
        ranked = list(orders(relevance))
        arguments = (torch.tensor([values]), torch.tensor([marks]) > 0, absolute)
        found = relevance_rank_accuracy(*arguments).item(), pointing_game(*arguments).item()
        if not inside or not any(relevance):
            expected = (float("nan"), float("nan"))
        else:
            share = [len(inside & set(order[: len(inside)])) / len(inside) for order in ranked]
            hits = [float(order[0] in inside) for order in ranked]
            expected = sum(share) / len(share), sum(hits) / len(hits)
        assert found == pytest.approx(expected, nan_ok=True), (values, marks)


def supported(count: int, support: int, features: int, seed: int, low: float = 0.0) -> Tensor:
    """Return random maps that are not zero at the first ``support`` of the features alone."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.zeros(count, features)
    maps[:, :support] = torch.rand(count, support, generator=generator) + low
    return maps


def test_independent_maps_of_one_sparse_support_score_by_chance() -> None:
    first, second = supported(200, 100, 784, 0), supported(200, 100, 784, 1)
    # A quarter of the 100: .25 / 1.75.
    assert top_k_iou(first, second).mean().item() == pytest.approx(0.143, abs=0.01)
    # Of 25 places each holds one of 100: a quarter of a feature agrees.
    assert rank_agreement(first, second).mean().item() == pytest.approx(0.01, abs=0.01)
    assert sign_agreement(first, second).mean().item() == pytest.approx(0.25, abs=0.02)


def test_independent_maps_of_equal_values_score_by_chance_however_many() -> None:
    ones = supported(2, 3072, 3072, 0).sign()
    assert top_k_iou(ones, ones)[0].item() == pytest.approx(0.143, abs=0.001)
    assert rank_agreement(ones, ones)[0].item() == pytest.approx(1 / 3072, rel=1e-3)


def test_two_maps_of_one_feature_each_agree_where_it_is_the_same() -> None:
    first, second = torch.zeros(2, 100), torch.zeros(2, 100)
    first[:, 3], second[0, 70], second[1, 3] = 1.0, 1.0, 5.0
    for score in (top_k_iou, sign_agreement, rank_agreement):
        assert score(first, second).tolist() == [0.0, 1.0], score.__name__


def test_zero_against_zero_is_no_agreed_sign() -> None:
    first, second = torch.zeros(1, 100), torch.zeros(1, 100)
    first[0, :4], second[0, 2:6] = 1.0, torch.tensor([1.0, -1.0, 1.0, 1.0])
    # Six candidates, all among the top; two in both, one with one sign.
    assert sign_agreement(first, second, share=1.0).item() == pytest.approx(1 / 6)


def test_a_silent_pixel_is_not_found_in_the_mask() -> None:
    attributions, mask = torch.zeros(1, 8), torch.zeros(1, 8, dtype=torch.bool)
    mask[0, :4], attributions[0, 7] = True, 1.0
    assert relevance_rank_accuracy(attributions, mask).item() == 0.0
    attributions[0, 0] = 1.0
    assert relevance_rank_accuracy(attributions, mask).item() == 0.25


DRAWN_BY_PLACE = {
    "faithfulness_correlation": "subsets",
    "faithfulness_rank_correlation": "subsets",
    "infidelity": "disturbances",
    "infidelity_normalised": "disturbances",
    "interaction": "pairs",
    "max_sensitivity": "noise",
    "average_sensitivity": "noise",
    "local_lipschitz": "noise",
    "road": "noise and the order of equal pixels, for what neighbours impute cannot go evenly",
}
EXPLAINING = [*cases.ATTRIBUTIONS, *cases.PERTURBATION, *cases.IMAGES]


def tied_signals(name: str) -> dict[str, object]:
    """Return signals with few values for many attributions, most of them zero."""
    signals = cases.signals_for(name) | {"multiplies_by_inputs": True}
    generator = torch.Generator().manual_seed(5)
    for key in ("attributions", "teacher_attributions"):
        drawn = torch.randint(-2, 3, signals[key].shape, generator=generator)
        signals[key] = (drawn.sign() * (drawn.abs() > 1)).float() * 0.5
        signals[key][:, :1] = 1.0
    return signals


def reordered(name: str) -> Tensor:
    """Return a drawn order of features; for images the rows from the last to the first."""
    if name in cases.IMAGES:
        return torch.arange(2 * 6 * 7).reshape(2, 6, 7).flip(1).flatten()
    return torch.randperm(9, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", [name for name in EXPLAINING if name not in DRAWN_BY_PLACE])
def test_no_score_depends_on_the_order_in_which_equal_features_are_stored(name: str) -> None:
    check_order_of_features(cases.METRICS[name], tied_signals(name), reordered(name))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", ["deletion", "insertion", "aopc", "faithfulness_estimate", "monotonicity_correlation"])
def test_nor_where_several_features_go_at_once(name: str, size: int) -> None:
    kind = type(cases.METRICS[name]())
    check_order_of_features(lambda: kind(units_per_step=size), tied_signals(name), reordered(name))  # type: ignore[call-arg]  # all are Removal


def test_what_is_drawn_by_place_is_the_only_reason_of_the_others() -> None:
    signals, order = tied_signals("infidelity"), reordered("infidelity")
    model, inputs, given = signals["model"], signals["inputs"], signals["attributions"]
    explained, baseline, attribute = signals["explained"], signals["baseline"], signals["attribute"]
    assert isinstance(inputs, Tensor)
    assert isinstance(given, Tensor)
    back, noise = order.argsort(), torch.randn(6, 9)
    subsets, pairs = draw_subsets(20, 9, 3, seed=0), torch.tensor([[0, 1], [3, 8], [2, 5]])

    def all_of(model: object, attribute: object, places: Tensor) -> list[Tensor]:
        one = (model, inputs[:, places], given[:, places], explained, baseline)
        return [
            faithfulness_correlation(*one, subsets[:, places]),  # type: ignore[arg-type]  # signals hold anything
            infidelity(*one, noise[:, places], multiplies_by_inputs=True),  # type: ignore[arg-type]  # as above
            interaction_strength(model, inputs[:, places], explained, baseline, places.argsort()[pairs]),  # type: ignore[arg-type]  # as above
            relative_moves(attribute, inputs[:, places], given[:, places], explained, noise[:, places]),  # type: ignore[arg-type]  # as above
        ]

    here = all_of(model, attribute, torch.arange(9))
    there = all_of(
        lambda rows: model(rows[:, back]),  # type: ignore[operator]  # as above
        lambda rows, target: attribute(rows[:, back], target)[:, order],  # type: ignore[operator]  # as above
        order,
    )
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_equal_pixels_of_an_image_are_imputed_in_a_drawn_order() -> None:
    signals = tied_signals("road")
    attributions = signals["attributions"]
    assert isinstance(attributions, Tensor)
    attributions.zero_()
    attributions[:, :, 0, 0] = 1.0
    found = [scores(ROAD(shares=(0.3,), noise=0.0, seed=seed), signals) for seed in range(3)]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


@pytest.mark.parametrize("score", [top_k_iou, sign_agreement, rank_agreement])
def test_attributions_that_are_not_finite_have_no_score_beside_equal_entries(
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    equal = torch.tensor([[1.0] * 6 + [0.0] * 10])
    for odd in (torch.nan, torch.inf):
        for pair in ((equal, torch.full_like(equal, odd)), (torch.full_like(equal, odd), equal)):
            assert score(*pair).isnan().tolist() == [True], (score.__name__, odd)
