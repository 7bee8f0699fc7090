"""Values of published implementations and of the definitions in float64, for whatever the data file names.

The data are read by key: ``metric/NAME/MODEL/ATTRIBUTION/options...``. Other files of the same kind can be put in the
place of this one; a key that nothing here computes must be listed in ``NOT_COVERED`` with the reason, or the last test
fails.
"""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdlab.metrics import divergence
from kdlab.metrics.agreement import agreement
from kdlab.metrics.aopc import drop
from kdlab.metrics.effective_complexity import effective_complexity
from kdlab.metrics.entropy import entropy
from kdlab.metrics.explaining import moves
from kdlab.metrics.faithfulness_correlation import faithfulness_correlation
from kdlab.metrics.faithfulness_estimate import FaithfulnessEstimate
from kdlab.metrics.gini import gini
from kdlab.metrics.monotonicity import Monotonicity, MonotonicityCorrelation, MonotonicityFraction
from kdlab.metrics.removal import area, removal_curve
from kdlab.metrics.sensitivity import relative_moves, steepness
from tests.metrics.reference import ENTRIES, EXPLAINERS, Case, array, network

NOT_COVERED = {
    r"metric/quantus_monotonicity_degenerate/.*": "a counterexample: the library's value is True by construction",
    r"metric/sensitivity_max_default_seed0/.*": "drawn from the global generator, which no metric here touches",
    r"metric/loss/.*": "a loss: tests/losses",
    r"metric/fastshap/.*": "an explainer's own terms: tests/explainers",
    r"metric/sdt/.*": "an explainer's own terms: tests/explainers",
}


def scored(metric: object, case: Case) -> Tensor:
    metric.update(*case.signals())  # type: ignore[attr-defined]  # several classes with one update
    return metric.latest  # type: ignore[attr-defined, no-any-return]  # as above


def flipping_area(case: Case) -> Tensor:
    """Return the library's area: without the first point, and not divided by the steps."""
    points = case.curve()[:, 1:]
    return area(points) * (points.shape[1] - 1)


def linear_curve() -> Tensor:
    """Return the curve of ``lin``: logits (x.w, 0, 0), features coming by ascending absolute attribution."""
    weights, inputs, attributions = array("lin/w"), array("lin/x"), array("lin/attr")

    def model(rows: Tensor) -> Tensor:
        first = rows @ weights
        return torch.stack([first, torch.zeros_like(first), torch.zeros_like(first)], dim=1)

    return removal_curve(
        model,
        inputs,
        attributions,
        torch.zeros(len(inputs), dtype=torch.int64),
        torch.zeros(inputs.shape[1], dtype=torch.float64),
        units_per_step=1,
        insert=True,
        relevance=lambda values: -values.abs(),
    )[:, 1:]


def both() -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's logits."""
    return array("logits/conv_s"), array("logits/conv")


CASES: dict[str, Callable[[Case], Tensor]] = {
    "sparseness": lambda case: gini(case.attributions),
    "complexity": lambda case: entropy(case.attributions),
    "effective_complexity": lambda case: effective_complexity(case.attributions, case.percentage() / 100),
    "pixel_flipping_curve": lambda case: case.curve()[:, 1:],
    "pixel_flipping_auc": flipping_area,
    "deletion_auc": lambda case: area(case.curve()),
    "aopc_morf": lambda case: drop(case.curve()),
    "insertion_curve": lambda case: case.curve(insert=True),
    "insertion_auc": lambda case: area(case.curve(insert=True)),
    "faithfulness_estimate": lambda case: scored(FaithfulnessEstimate(units_per_step=case.units_per_step), case),
    "faithfulness_correlation": lambda case: case.correlation(),
    "faithfulness_correlation_spearman": lambda case: case.rank_correlation(),
    "monotonicity_curve": lambda case: removal_curve(
        *case.signals(), units_per_step=1, insert=True, relevance=lambda values: -values.abs()
    )[:, 1:],
    "monotonicity": lambda case: scored(Monotonicity(units_per_step=1), case),
    "monotonicity_fraction": lambda case: scored(MonotonicityFraction(units_per_step=1), case),
    "monotonicity_correlation": lambda case: scored(MonotonicityCorrelation(units_per_step=1), case),
    "infidelity": lambda case: case.infidelity(multiplies_by_inputs=False, normalised=False),
    "infidelity_normalized": lambda case: case.infidelity(multiplies_by_inputs=False, normalised=True),
    "infidelity_multiply_by_inputs": lambda case: case.infidelity(multiplies_by_inputs=True, normalised=False),
    "sensitivity_max": lambda case: case.moved(relative_moves).amax(dim=1),
    "sensitivity_max_quantus": lambda case: case.moved(relative_moves).amax(dim=1),
    "sensitivity_avg": lambda case: case.moved(relative_moves).mean(dim=1),
    "local_lipschitz": lambda case: case.moved(steepness),
}
WHOLE: dict[str, Callable[[], Tensor]] = {
    "metric/monotonicity_curve/lin": linear_curve,
    "metric/monotonicity/lin": lambda: (linear_curve().diff(dim=1) >= 0).all(dim=1),
    "metric/fidelity/top1_agreement": lambda: agreement(*both()).mean(),
    "metric/fidelity/kl_teacher_student": lambda: divergence.kullback_leibler(*reversed(both())),
    "metric/fidelity/kl_student_teacher": lambda: divergence.kullback_leibler(*both()),
    "metric/fidelity/js": lambda: divergence.jensen_shannon(*both()),
    "metric/fidelity/tv": lambda: divergence.total_variation(*both()),
}


def covered(key: str) -> bool:
    return key in WHOLE or (key.split("/")[1] in CASES and f"model/{key.split('/')[2]}.W1" in ENTRIES)


def tolerance(key: str) -> tuple[float, float]:
    """Return rtol and atol: the definition's; a library's float32 values have their own."""
    if not key.endswith("/lib") and "quantus" not in key:
        return 1e-6, 1e-9
    stated = dict(re.findall(r"(rtol|atol) ([\d.e-]+)", ENTRIES[key]["tol"]))
    # Some state no absolute tolerance; a move of zero is 1e-7 in float32.
    return float(stated.get("rtol", 0)), float(stated.get("atol", 1e-6))


KEYS = [key for key in ENTRIES if key.startswith("metric/")]


@pytest.mark.parametrize("key", [key for key in KEYS if covered(key)])
def test_equals_the_reference(key: str) -> None:
    value = WHOLE[key]() if key in WHOLE else CASES[key.split("/")[1]](Case(key))
    rtol, atol = tolerance(key)
    torch.testing.assert_close(value.double(), array(key).double(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", sorted(EXPLAINERS))
def test_the_explainers_of_this_file_are_those_of_the_reference(name: str) -> None:
    attributions = EXPLAINERS[name](network("mlp"))(array("x/mlp"), array("y/mlp"))
    torch.testing.assert_close(attributions, array(f"attr/mlp/{name}"), rtol=1e-7, atol=1e-9)


def test_the_rank_correlation_differs_from_the_reference_by_its_broken_ties_only() -> None:
    case = Case("metric/faithfulness_correlation_spearman/mlp/ig/zero")
    value = faithfulness_correlation(*case.signals(), case.subsets()[1], ranked=True)
    torch.testing.assert_close(value, case.rank_correlation(), rtol=0, atol=1e-3)


def test_noise_for_each_sample_and_for_all_is_the_same_when_it_is_equal() -> None:
    case = Case("metric/sensitivity_max/mlp/ig")
    noise = array("noise/mlp")[0]
    own = noise.expand(len(case.inputs), *noise.shape)
    values = [moves(case.attribute, case.inputs, case.attributions, case.explained, table) for table in (noise, own)]
    torch.testing.assert_close(*values)


def test_every_metric_of_the_reference_is_computed_or_listed_as_not_covered() -> None:
    left = [key for key in KEYS if not covered(key) and not any(re.fullmatch(one, key) for one in NOT_COVERED)]
    assert not left
