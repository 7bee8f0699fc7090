"""Attributions that know nothing of the model."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kdlab.callbacks.controls import moved, shuffled, untrained
from kdlab.callbacks.evaluate import Evaluate
from kdlab.callbacks.measure import Measure
from kdlab.callbacks.standard import standard_measures
from kdlab.explainers.grad_cam import GradCam
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.metrics.attribution_agreement import AttributionCosine
from kdlab.metrics.base import PerSample
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.parameter_randomisation import ParameterRandomisation
from kdlab.metrics.sensitivity import MaxSensitivity
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.teacher import Teacher
from tests.callbacks.projects import trainer
from tests.data.made_up import MadeUp


def test_every_layer_is_drawn_anew_in_a_copy() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).train()
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    copy, again = untrained(model), untrained(model)
    assert copy is not None
    assert again is not None
    assert all(torch.equal(old, now) for old, now in zip(before, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not copy.training
    assert not torch.equal(copy[0].weight, model[0].weight)
    assert not torch.equal(copy[2].weight, model[2].weight)
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), again.parameters(), strict=True))


def test_attention_and_normalisation_are_drawn_anew_too() -> None:
    attention = nn.MultiheadAttention(4, 2)
    copy = untrained(attention)
    assert copy is not None
    assert not torch.equal(copy.get_parameter("in_proj_weight"), attention.in_proj_weight)
    conv = ConvNet(classes=3, width=2).train()
    conv(torch.randn(8, 1, 8, 8) + 5)
    fresh = untrained(conv)
    assert fresh is not None
    assert all(float(b.abs().sum()) == 0 for name, b in fresh.named_buffers() if name.endswith("running_mean"))


def test_a_model_that_cannot_be_drawn_anew_has_no_such_control() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(64, 3))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1) @ self.weight

    assert untrained(Own()) is None


def test_controls_stand_beside_each_score_at_test_and_not_in_validation() -> None:
    measures = {
        "explanation/deletion_auc": DeletionAUC(),
        "explanation/max_sensitivity": MaxSensitivity(),
        "explanation/sanity": ParameterRandomisation(),
    }
    evaluate = Evaluate(measures, InputGradient, probe=16)
    runner = lightning.Trainer(
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[evaluate],
    )
    module = Supervised(MLP(inputs=64, classes=3))
    runner.fit(module, datamodule=MadeUp(classes=3))
    assert not any("untrained" in name or "random" in name for name in runner.callback_metrics)
    before = [p.clone() for p in module.parameters()]
    (values,) = runner.test(module, datamodule=MadeUp(classes=3), verbose=False)
    assert all(torch.equal(old, now) for old, now in zip(before, module.parameters(), strict=True))
    own, control, noise = (values[f"test/explanation/{name}deletion_auc"] for name in ("", "untrained/", "random/"))
    assert own < min(control, noise)  # the trained model's own reasons break its prediction sooner
    assert "test/explanation/untrained/max_sensitivity" in values
    assert "test/explanation/random/max_sensitivity" not in values  # noise has nothing that explains again
    # The copy explains itself: other weights in the trained model would change nothing and score 1.
    assert values["test/explanation/sanity"] < 0.9
    assert "test/explanation/untrained/sanity" not in values


FRAMES = [(1, 6, 7), (3, 5, 5), (2, 9), (1, 3, 4, 4)]


@pytest.mark.parametrize("shape", FRAMES)
def test_a_moved_map_is_the_same_map_in_another_place(shape: tuple[int, ...]) -> None:
    maps, index = torch.randn(20, *shape), torch.arange(100, 120)
    found = moved(maps, index)
    spatial = torch.Size(shape[1:])
    for before, after in zip(maps, found, strict=True):
        shifts = [torch.unravel_index(torch.tensor(place), spatial) for place in range(1, spatial.numel())]
        candidates = [before.roll([int(s) for s in shift], tuple(range(1, len(shape)))) for shift in shifts]
        # The shift by nothing is not among them.
        assert sum(torch.equal(after, candidate) for candidate in candidates) == 1


@pytest.mark.parametrize("shape", [(2,), (9,), (4, 1, 1)])
def test_a_tables_values_are_permuted_each_order_as_likely(shape: tuple[int, ...]) -> None:
    width, count = torch.Size(shape).numel(), 600
    found = moved(torch.arange(float(width)).reshape(shape).expand(count, *shape), torch.arange(count)).flatten(1)
    assert torch.equal(found.sort(dim=1).values, torch.arange(float(width)).expand(count, -1))
    # Each value at each place about as often; a swap of two that is always done would be a mirror.
    often = torch.nn.functional.one_hot(found.long()).float().mean(dim=0)
    assert (often - 1 / width).abs().max() < 0.07


def test_a_single_value_cannot_be_moved() -> None:
    assert moved(torch.ones(3, 1), torch.arange(3)).isnan().all()


def test_a_sample_is_moved_alike_in_every_run_and_in_every_batch() -> None:
    maps, index, state = torch.randn(6, 1, 8, 8), torch.tensor([5, 9, 0, 3, 7, 2]), torch.get_rng_state()
    together = moved(maps, index)
    assert torch.equal(together, moved(maps, index))
    assert torch.equal(together.flip(0), moved(maps.flip(0), index.flip(0)))
    assert all(torch.equal(together[i : i + 1], moved(maps[i : i + 1], index[i : i + 1])) for i in range(6))
    assert torch.equal(torch.get_rng_state(), state)
    assert len({str(moved(maps[:1], torch.tensor([number]))) for number in range(20)}) > 10


def test_each_gets_anothers_of_its_class_and_who_is_alone_none() -> None:
    classes, index = torch.tensor([0, 1, 0, 1, 0, 2]), torch.tensor([30, 11, 42, 13, 25, 6])
    own = torch.arange(6.0).reshape(6, 1).expand(6, 4)
    found = shuffled(own, classes, index)[:, 0]
    assert found.isnan().tolist() == [False] * 5 + [True]
    assert sorted(found[:5].tolist()) == [0.0, 1.0, 2.0, 3.0, 4.0]
    given = found[:5].long()
    assert torch.equal(classes[given], classes[:5])
    assert not (given == torch.arange(5)).any()
    # Whatever the order of the batch is.
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    again = shuffled(own[order], classes[order], index[order])[:, 0]
    torch.testing.assert_close(again, found[order], equal_nan=True)


def trained_conv_net() -> tuple[nn.Module, Tensor]:
    """A small conv net that tells stripes that lie, stripes that stand and dots apart, wherever they are; images."""
    generator = torch.Generator().manual_seed(0)
    count, side = 128, 5
    target = torch.randint(3, (count,), generator=generator)
    inputs = 0.3 * torch.randn(count, 1, 16, 16, generator=generator)
    places = torch.randint(16 - side, (count, 2), generator=generator).tolist()
    line = (torch.arange(side) % 2).float() * 2
    textures = [line[:, None].expand(side, side), line[None, :].expand(side, side), line[:, None] * line[None, :] / 2]
    for row, (down, right) in enumerate(places):
        inputs[row, 0, down : down + side, right : right + side] += textures[int(target[row])]
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), target).backward()
        optimizer.step()
    return model.eval(), inputs[:64]


def test_grad_cam_differs_from_itself_elsewhere_where_it_does_not_from_noise() -> None:
    model, inputs = trained_conv_net()
    with torch.no_grad():
        explained = model(inputs).argmax(dim=1)
        maps = GradCam(model, "1").attribute(inputs, explained)
    values = {}
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    for name, attributions in (("own", maps), ("moved", moved(maps, torch.arange(64))), ("noise", noise)):
        metric = DeletionAUC()
        metric.update(model, inputs, attributions, explained, torch.zeros(1, 16, 16))
        values[name] = float(metric.compute())
    # Noise destroys more than any blob does: own .60, noise .58, moved .68.
    assert values["own"] < values["moved"] - 0.04, values
    assert abs(values["own"] - values["noise"]) < values["moved"] - values["own"], values


class Described(NeuralSurrogate):
    """An explainer that tells a number of itself."""

    def describe(self) -> dict[str, float]:
        return {"fitted": 0.25, "unknown": float("nan")}


def score(
    measures: Mapping[str, Measure | Metric], probe: int = 24, **arguments: Any
) -> tuple[Evaluate, dict[str, float]]:
    torch.manual_seed(0)
    module = Joint(MLP(64, 3), lambda model: NeuralSurrogate(model, 64, 3), teacher=Teacher(ConvNet(3, width=2)))
    evaluate = Evaluate(measures, InputGradient, probe=probe, **arguments)
    (values,) = trainer(evaluate).test(module, datamodule=MadeUp(classes=3), verbose=False)
    return evaluate, {name.removeprefix("test/"): float(value) for name, value in values.items()}


def test_every_measure_of_attributions_has_its_controls_and_the_score_of_every_sample() -> None:
    measures = standard_measures(3, teacher=True, explains=True, explainer=True)
    evaluate, values = score(measures)
    of_attributions = {n for n, m in measures.items() if m.explaining and "teacher" not in n}
    compared = {n for n in measures if "explanation/teacher_" in n}
    assert len(of_attributions) == 7
    assert len(compared) == 3
    short = {name.removeprefix("explanation/") for name in of_attributions}
    wanted = {f"explanation/untrained/{name}" for name in short} | {f"explainer/{name}" for name in short}
    # What is moved explains nothing again.
    wanted |= {f"explanation/random/{name}" for name in short - {"max_sensitivity"}}
    wanted |= {f"explanation/shuffled/{name.removeprefix('explanation/')}" for name in compared}
    assert "explanation/random/infidelity_logits" in wanted
    assert wanted <= values.keys()
    assert wanted | of_attributions | compared <= evaluate.scores.keys()
    assert all(len(torch.cat(evaluate.scores[name])) == 24 for name in wanted)
    for name in wanted | of_attributions | compared:
        scores = torch.cat(evaluate.scores[name])[:, 1]
        if name.endswith("infidelity_logits"):
            assert values[f"{name}_mean"] == pytest.approx(float(scores.nanmean()), rel=1e-5)
            scores = scores.sort().values[11:13]
        assert values[name] == pytest.approx(float(scores.nanmean()), rel=1e-5), name


class HalfSilent(PerSample):
    """Has no score where the first attribution is positive."""

    higher_is_better = True

    def update(self, attributions: Tensor) -> None:
        first = attributions.flatten(1)[:, 0]
        self.add(first.masked_fill(first > 0, torch.nan))


def test_scores_that_are_none_are_counted_for_everybody() -> None:
    evaluate, values = score({"explanation/half": HalfSilent()})
    for name in ("explanation/half", "explanation/random/half", "explanation/untrained/half", "explainer/half"):
        missing = int(torch.cat(evaluate.scores[name])[:, 1].isnan().sum())
        assert missing > 0
        assert values[f"{name}_nan"] == missing, name


def test_a_sample_alone_of_its_class_has_no_control_and_is_counted() -> None:
    evaluate, values = score({"explanation/teacher_cosine": AttributionCosine()}, probe=1)
    assert values["explanation/shuffled/teacher_cosine_nan"] == 1
    assert torch.cat(evaluate.scores["explanation/shuffled/teacher_cosine"])[:, 1].isnan().all()


def test_the_teacher_of_another_sample_agrees_less_than_the_samples_own() -> None:
    torch.manual_seed(0)
    network = MLP(inputs=64, classes=3)
    evaluate = Evaluate({"explanation/teacher_cosine": AttributionCosine()}, InputGradient, teacher=Teacher(network))
    (values,) = trainer(evaluate).test(Supervised(network), datamodule=MadeUp(classes=3), verbose=False)
    assert values["test/explanation/teacher_cosine"] == pytest.approx(1.0, abs=1e-5)
    assert values["test/explanation/shuffled/teacher_cosine"] < 0.99


def test_controls_can_be_left_out() -> None:
    _, values = score(standard_measures(3, True, True, True), controls=False)
    assert not any(part in name for name in values for part in ("random", "untrained", "shuffled"))
    assert "explainer/deletion_auc" in values


def test_what_an_explainer_tells_of_itself_stands_with_the_training() -> None:
    torch.manual_seed(0)
    module = Joint(MLP(64, 3), lambda model: Described(model, 64, 3), teacher=Teacher(ConvNet(3, width=2)))
    runner = trainer(max_epochs=2)
    runner.fit(module, datamodule=MadeUp(classes=3))
    assert float(runner.callback_metrics["train/explainer/fitted"]) == 0.25
    assert "val/explainer/lag" in runner.callback_metrics
    assert not any(
        name.endswith(("val/explainer/fitted", "unknown", "train/explainer/lag")) for name in runner.callback_metrics
    )
