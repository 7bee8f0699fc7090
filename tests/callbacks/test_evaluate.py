"""Metrics by name, in any Lightning project, with or without a teacher and an explainer."""

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from kdlab.callbacks.evaluate import Evaluate
from kdlab.callbacks.measure import Measure
from kdlab.callbacks.standard import standard_measures
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.agreement import Agreement
from kdlab.metrics.attribution_agreement import AttributionCosine
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.teacher import Teacher
from tests.callbacks.projects import Foreign, pairs, trainer
from tests.data.made_up import MadeUp


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_it_works_in_a_project_that_knows_nothing_of_kdlab() -> None:
    evaluate = Evaluate({"accuracy": Accuracy(), "deletion": DeletionAUC()}, InputGradient, probe=20)
    module, runner = Foreign(), trainer(evaluate)
    runner.fit(module, pairs(), pairs())
    inputs, target = (torch.cat(part) for part in zip(*pairs(), strict=True))
    expected = (module(inputs).argmax(1) == target).double().mean()
    assert runner.callback_metrics["val/accuracy"] == pytest.approx(float(expected))
    assert 0 < runner.callback_metrics["val/deletion"] < 1


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_numbers_are_equal_under_fit_validate_and_test() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC(), "accuracy": Accuracy()}, InputGradient, probe=20)
    module, runner = Foreign(), trainer(evaluate)
    runner.fit(module, pairs(), pairs())
    fitted = dict(runner.callback_metrics)
    (validated,) = runner.validate(module, pairs(), verbose=False)
    (tested,) = runner.test(module, pairs(), verbose=False)
    for name in ("deletion", "accuracy"):
        assert fitted[f"val/{name}"] == pytest.approx(validated[f"val/{name}"], abs=1e-7)
        assert tested[f"test/{name}"] == pytest.approx(validated[f"val/{name}"], abs=1e-7)


def test_a_metric_that_nobody_can_serve_is_refused_before_training() -> None:
    data = MadeUp(classes=3)
    batch = next(iter(data.train_dataloader()))
    module = Supervised(MLP(inputs=64, classes=3))
    with pytest.raises(KeyError, match="metric 'agreement' asks for 'teacher_logits'"):
        Evaluate({"agreement": Agreement()}).check(module, batch)
    with pytest.raises(KeyError, match="'attributions'"):
        Evaluate({"deletion": DeletionAUC()}).check(module, batch)


def test_a_renamed_torchmetrics_metric_is_a_fidelity_metric() -> None:
    class TeacherClass(MulticlassAccuracy):
        def update(self, preds: Tensor, target: Tensor) -> None:  # type: ignore[override]  # soft labels as classes
            super().update(preds, target.argmax(1))

    metric = Measure(TeacherClass(num_classes=3, average="micro"), {"target": "teacher_logits"})
    teacher = Teacher(ConvNet(classes=3, width=2))
    evaluate = Evaluate({"same": metric, "agreement": Agreement()}, teacher=teacher)
    (values,) = trainer(evaluate).test(
        Supervised(MLP(inputs=64, classes=3)), datamodule=MadeUp(classes=3), verbose=False
    )
    assert values["test/same"] == pytest.approx(values["test/agreement"])


def test_every_standard_measure_of_a_joint_stage_is_logged_with_controls_and_scores() -> None:
    torch.manual_seed(0)
    teacher = Teacher(ConvNet(classes=3, width=2))
    module = Joint(MLP(inputs=64, classes=3), lambda model: NeuralSurrogate(model, 64, 3), teacher=teacher)
    evaluate = Evaluate(standard_measures(3, True, True, True), InputGradient, probe=16)
    (values,) = trainer(evaluate).test(module, datamodule=MadeUp(classes=3), verbose=False)
    names = {name.removeprefix("test/") for name in values}
    assert set(evaluate.measures) <= names
    assert {"explainer/deletion_auc", "explanation/random/deletion_auc"} <= names
    assert "accuracy" in evaluate.scores
    assert len(torch.cat(evaluate.scores["explanation/deletion_auc"])) == 16


def test_the_teachers_class_is_explained_for_both_where_attributions_are_compared() -> None:
    torch.manual_seed(0)
    student, network = MLP(inputs=64, classes=3), MLP(inputs=64, classes=3)
    evaluate = Evaluate({"cosine": AttributionCosine()}, InputGradient, probe=16, teacher=Teacher(network))
    (values,) = trainer(evaluate).test(Supervised(student), datamodule=MadeUp(classes=3), verbose=False)
    inputs = MadeUp(classes=3).probe(16, "test")["inputs"]
    theirs, own = network(inputs).argmax(dim=1), student(inputs).argmax(dim=1)
    assert (theirs != own).any()

    def likeness(of_student: Tensor, of_teacher: Tensor) -> float:
        maps = (
            InputGradient(student).attribute(inputs, of_student),
            InputGradient(network).attribute(inputs, of_teacher),
        )
        return float(torch.nn.functional.cosine_similarity(maps[0].flatten(1), maps[1].flatten(1)).mean().detach())

    assert values["test/cosine"] == pytest.approx(likeness(theirs, theirs), abs=1e-5)
    for wrong in ((own, own), (own, theirs), (theirs, own)):
        assert abs(likeness(*wrong) - values["test/cosine"]) > 1e-3


def test_a_metric_with_several_values_is_logged_under_the_name_of_each() -> None:
    class Both(Accuracy):
        def compute(self) -> dict[str, Tensor]:  # type: ignore[override]  # torchmetrics lets it be anything
            right = super().compute()
            return {"right": right, "wrong": 1 - right}

    measures = {"both": Both(), "each": MulticlassAccuracy(num_classes=3, average="none")}
    (values,) = trainer(Evaluate(measures)).test(
        Supervised(MLP(inputs=64, classes=3)), datamodule=MadeUp(classes=3), verbose=False
    )
    assert values["test/both/right"] + values["test/both/wrong"] == pytest.approx(1.0)
    assert {"test/each/0", "test/each/1", "test/each/2"} <= set(values)


def test_what_is_for_the_test_is_left_out_of_validation() -> None:
    evaluate = Evaluate({"late": Measure(DeletionAUC(), at_test=True), "accuracy": Accuracy()}, InputGradient, probe=8)
    module, runner = Supervised(MLP(inputs=64, classes=3)), trainer(evaluate)
    (validated,) = runner.validate(module, datamodule=MadeUp(classes=3), verbose=False)
    (tested,) = runner.test(module, datamodule=MadeUp(classes=3), verbose=False)
    assert "val/late" not in validated
    assert 0 < tested["test/late"] < 1


class Masked(MadeUp):
    """Whose evidence lies in the upper half, as a person says."""

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        mask = torch.zeros(1, 8, 8)
        mask[:, :4] = 1
        return {name: {**split, "mask": mask.expand_as(split["inputs"])} for name, split in splits.items()}


def test_attributions_are_compared_with_masks_where_there_are_some() -> None:
    measures = standard_measures(3, False, True, False, mask=True)
    (values,) = trainer(Evaluate(measures, InputGradient, probe=16)).test(
        Supervised(MLP(inputs=64, classes=3)), datamodule=Masked(classes=3), verbose=False
    )
    for name in ("mass_accuracy", "rank_accuracy", "pointing_game"):
        assert 0 <= values[f"test/explanation/{name}"] <= 1
        assert 0 <= values[f"test/explanation/random/{name}"] <= 1


def test_the_teachers_reasons_are_asked_once_a_split() -> None:
    class Counting(Teacher):
        asked = 0

        def attributions(self, inputs: Tensor, *arguments: object) -> Tensor:
            type(self).asked += 1
            return super().attributions(inputs, *arguments)  # type: ignore[arg-type]  # passed on as they came

    evaluate = Evaluate({"cosine": AttributionCosine()}, InputGradient, teacher=Counting(ConvNet(classes=3, width=2)))
    module, runner = Supervised(MLP(inputs=64, classes=3)), trainer(evaluate)
    runner.fit_loop.max_epochs = 3
    runner.fit(module, datamodule=MadeUp(classes=3))
    assert Counting.asked == 1
    fitted = float(runner.callback_metrics["val/cosine"])
    (validated,) = runner.validate(module, datamodule=MadeUp(classes=3), verbose=False)
    assert validated["val/cosine"] == pytest.approx(fitted, abs=1e-7)


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_what_a_metric_draws_does_not_reach_the_training() -> None:
    class Drawing(Accuracy):
        def update(self, logits: Tensor, target: Tensor) -> None:
            torch.rand(3)
            super().update(logits, target)

    weights = []
    for metrics in ({}, {"accuracy": Drawing()}):
        torch.manual_seed(0)
        module = Foreign()
        module.net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(5, 3))  # type: ignore[assignment]  # a net
        trainer(Evaluate(metrics), max_epochs=3).fit(module, pairs(), pairs())
        weights.append(torch.nn.utils.parameters_to_vector(module.parameters()))
    assert torch.equal(*weights)
