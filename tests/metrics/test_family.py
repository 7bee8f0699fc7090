"""What every metric promises, tried on each."""

import importlib
import inspect
import pkgutil

import pytest
import torch
from torchmetrics import Metric, MetricCollection

import kdlab.metrics
from kdlab.metrics.base import MedianPerSample, PerSample, Unmerged
from kdlab.metrics.explaining import draw_normal
from kdlab.metrics.faithfulness_correlation import FaithfulnessCorrelation
from kdlab.metrics.ranking import Ranking
from kdlab.metrics.removal import Removal
from kdlab.metrics.road import ROAD
from kdlab.testing.metrics import check_counts_nan, check_metric, pick, scores, update
from tests.metrics import cases


def asking(*signals: str) -> list[str]:
    """Return the names of the metrics that ask for all of the signals."""
    asked = {name: inspect.signature(make().update).parameters.keys() for name, make in cases.METRICS.items()}
    return [name for name, keys in asked.items() if set(signals) <= keys]


SCORED = [name for name, make in cases.METRICS.items() if isinstance(make(), PerSample)]


@pytest.mark.parametrize("name", cases.METRICS)
def test_keeps_the_promises_of_every_metric(name: str) -> None:
    check_metric(cases.METRICS[name], cases.signals_for(name))


@pytest.mark.parametrize("name", SCORED)
def test_counts_a_nan_and_leaves_it_out_of_the_mean(name: str) -> None:
    asked = inspect.signature(cases.METRICS[name]().update).parameters
    signal = next(one for one in ("attributions", "logits", "inputs") if one in asked)
    check_counts_nan(cases.METRICS[name], cases.signals_for(name), signal)


@pytest.mark.parametrize("name", SCORED)
def test_takes_half_precision(name: str) -> None:
    signals = cases.signals_for(name)
    for key in ("attributions", "teacher_attributions", "logits", "teacher_logits"):
        signals[key] = signals[key].to(torch.bfloat16)
    assert scores(cases.METRICS[name](), signals).dtype == torch.float32


@pytest.mark.parametrize("name", cases.METRICS)
def test_an_empty_batch_changes_nothing(name: str) -> None:
    signals, metric = cases.signals_for(name), cases.METRICS[name]()
    update(metric, signals)
    before = metric.compute()
    update(metric, pick(signals, torch.arange(0)))
    after = metric.compute()
    assert before.keys() == after.keys() if isinstance(before, dict) else torch.equal(before, after)


REMOVING = [name for name in asking("model", "attributions") if name not in asking("attribute")]


@pytest.mark.parametrize("name", REMOVING)
def test_slopes_score_what_slopes_times_the_distance_to_the_baseline_score(name: str) -> None:
    signals = cases.signals_for(name)
    signals["baseline"] = 0.3 * torch.ones_like(signals["baseline"])
    contributions = signals["attributions"] * (signals["inputs"] - signals["baseline"])
    slopes = scores(cases.METRICS[name](), signals | {"multiplies_by_inputs": False})
    times = scores(cases.METRICS[name](), signals | {"attributions": contributions, "multiplies_by_inputs": True})
    torch.testing.assert_close(slopes, times, rtol=1e-3, atol=1e-5, equal_nan=True)
    untold = {key: value for key, value in signals.items() if key != "multiplies_by_inputs"}
    if "infidelity" in name:
        with pytest.raises(TypeError, match="multiplies_by_inputs"):
            scores(cases.METRICS[name](), untold)
    else:
        # Who says nothing hands in contributions.
        same = scores(cases.METRICS[name](), untold | {"attributions": contributions})
        torch.testing.assert_close(same, times, rtol=0, atol=0, equal_nan=True)


def test_every_metric_that_scores_attributions_by_the_model_is_told_what_they_are() -> None:
    assert len(REMOVING) > 15
    assert set(REMOVING) <= set(asking("multiplies_by_inputs"))


def test_the_exact_gradient_of_a_net_foretells_what_its_removal_costs() -> None:
    # The higher the curvature, the less it does; this one is nearly linear.
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))
    with torch.no_grad():
        model[0].weight.mul_(0.2)
    inputs, explained = torch.randn(16, 20), torch.zeros(16, dtype=torch.int64)
    slopes = cases.Gradient(model)(inputs, explained)
    signals = {"model": model, "inputs": inputs, "attributions": slopes, "explained": explained}
    found = []
    for multiplies in (True, False):
        signals |= {"baseline": torch.zeros(20), "multiplies_by_inputs": multiplies}
        found.append(float(scores(FaithfulnessCorrelation(), signals).mean()))
    assert abs(found[0]) < 0.3
    assert found[1] > 0.95


def test_slopes_without_a_baseline_are_refused() -> None:
    signals = cases.signals_for("road")
    del signals["baseline"]
    with pytest.raises(ValueError, match="slopes count times the distance to the baseline, and there is none"):
        scores(ROAD(), signals)


COMPARED = ("inputs", "teacher_attributions", "mask")


@pytest.mark.parametrize("name", [name for other in COMPARED for name in asking("attributions", other)])
def test_refuses_attributions_of_another_shape_in_one_line(name: str) -> None:
    signals = cases.signals_for(name)
    signals["attributions"] = signals["attributions"][..., :-1]
    with pytest.raises(ValueError, match=r"\(7, .*\(7, ") as raised:
        update(cases.METRICS[name](), signals)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in asking("model", "explained") if "randomisation" not in name])
def test_refuses_a_class_that_the_model_has_not(name: str) -> None:
    signals = cases.signals_for(name)
    signals["explained"] = torch.full((7,), cases.CLASSES)
    with pytest.raises(ValueError, match=r"explained must lie in 0\.\.2, got 3"):
        update(cases.METRICS[name](), signals)


@pytest.mark.parametrize("name", ["deletion", "insertion", "aopc", "comprehensiveness", "faithfulness_correlation"])
def test_refuses_a_baseline_that_does_not_fit(name: str) -> None:
    signals = cases.signals_for(name) | {"baseline": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"baseline \(4,\) does not broadcast to inputs \(7, 9\)"):
        update(cases.METRICS[name](), signals)


@pytest.mark.parametrize("name", ["accuracy", "nll", "macro_f1", "auroc", "calibration", "where_teacher_errs"])
def test_refuses_an_unknown_label(name: str) -> None:
    signals = cases.signals_for(name) | {"target": torch.full((7,), 5)}
    with pytest.raises(ValueError, match=r"target must lie in -1\.\.2, got 5"):
        update(cases.METRICS[name](), signals)


WITHOUT_AN_EXPLANATION = {
    "infidelity": "foretells no effect: the mean squared effect",
    "infidelity_normalised": "as infidelity",
    "interaction": "asks for none",
    "local_lipschitz": "not relative",
}


@pytest.mark.parametrize("name", [*cases.ATTRIBUTIONS, *cases.PERTURBATION, *cases.IMAGES])
def test_an_attribution_of_zeros_has_no_score(name: str) -> None:
    signals = cases.signals_for(name)
    signals["attributions"] = torch.zeros_like(signals["attributions"])
    found = scores(cases.METRICS[name](), signals)
    assert found.isnan().all() != (name in WITHOUT_AN_EXPLANATION)


BY_DEFINITION = {"deletion", "deletion_logit", "deletion_five_steps", "insertion", "aopc", "comprehensiveness"}
BY_DEFINITION |= {"sufficiency", "infidelity", "infidelity_normalised"}


@pytest.mark.parametrize("name", [name for name in cases.PERTURBATION if name in asking("model", "baseline")])
def test_a_constant_model_scores_its_constant_or_nothing(name: str) -> None:
    signals = cases.signals_for(name)
    for parameter in signals["model"].parameters():
        torch.nn.init.zeros_(parameter)
    found = scores(cases.METRICS[name](), signals)
    if name not in BY_DEFINITION:
        assert found.isnan().all()
    elif "deletion" in name or name == "insertion":
        torch.testing.assert_close(found, torch.full((7,), 0.0 if "logit" in name else 1 / 3))
    elif name == "infidelity":
        # The slopes foretell an effect, and there is none.
        foretold = signals["attributions"] @ draw_normal(8, torch.Size([9]), 0.1, 0, signals["inputs"]).T
        torch.testing.assert_close(found, foretold.square().mean(dim=1))
    else:
        torch.testing.assert_close(found, torch.zeros(7))


@pytest.mark.parametrize("name", [*cases.ATTRIBUTIONS, *cases.PERTURBATION])
def test_a_single_feature_is_no_error(name: str) -> None:
    found = scores(cases.METRICS[name](), cases.signals_of((1,)))
    assert found.shape == (7,)


@pytest.mark.parametrize("name", cases.LABELS)
def test_one_class_in_a_batch_is_no_error(name: str) -> None:
    metric = cases.METRICS[name]()
    update(metric, cases.signals_for(name) | {"target": torch.zeros(7, dtype=torch.int64)})
    missing = name in ("macro_f1", "auroc", "average_precision")
    assert bool(metric.compute().isnan()) == missing


@pytest.mark.parametrize("name", cases.METRICS)
def test_a_collection_never_takes_one_metric_for_another(name: str) -> None:
    signals = cases.signals_for(name)
    both = MetricCollection({"one": cases.METRICS[name](), "other": cases.METRICS[name]()}, prefix="val/")
    keys = inspect.signature(both["one"].update).parameters
    both.update(**{key: signals[key] for key in keys if key in signals})
    assert len(both.compute_groups) == 2


SHARED = (Unmerged, PerSample, MedianPerSample, Removal, Ranking)


def test_every_metric_of_the_package_is_among_the_cases() -> None:
    tried = {type(make()) for make in cases.METRICS.values()}
    modules = list(pkgutil.iter_modules(kdlab.metrics.__path__))
    assert len(modules) > 20
    for found in modules:
        module = importlib.import_module(f"kdlab.metrics.{found.name}")
        for _, one in inspect.getmembers(module, inspect.isclass):
            if issubclass(one, Metric) and one.__module__ == module.__name__ and not inspect.isabstract(one):
                assert one in tried or one in SHARED, f"{one.__name__} requires arguments: its test file holds CASE"
