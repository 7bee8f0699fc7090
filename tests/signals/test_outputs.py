"""Whatever a network returns around its logits, everybody who calls it finds them."""

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn

from kdlab.callbacks.evaluate import Evaluate
from kdlab.callbacks.standard import standard_measures
from kdlab.explainers.base import Attribution, Learned, Refits
from kdlab.explainers.explained import Explained
from kdlab.explainers.input_gradient import InputGradient
from kdlab.losses.explanations.attributed_part import NecessaryPart, SufficientPart
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.metrics.scorer import Scorer
from kdlab.modules.distilled import Distilled
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.modules.term import Term
from kdlab.signals.outputs import check_logits, logits_of
from kdlab.stages.costs import costs
from kdlab.teacher import Ensemble, Teacher
from tests.explainers.test_family import CASES, LEARNED, SHAPES
from tests.modules.fitting import batch, data, student, teacher


class Named(NamedTuple):
    """As torchvision's GoogLeNetOutputs."""

    logits: Tensor
    aux_logits: Tensor | None = None


@dataclass
class Plain:
    """A dataclass of somebody's."""

    logits: Tensor
    loss: Tensor | None = None


@dataclass
class ModelOutput(OrderedDict[str, Any]):
    """Built as Hugging Face's: a dataclass that is a mapping of those of its fields that are not None."""

    loss: Tensor | None = None
    logits: Tensor | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


WRAPPED: list[Callable[[Tensor], object]] = [
    lambda logits: {"loss": None, "logits": logits},
    lambda logits: ModelOutput(logits=logits),
    Named,
    Plain,
]


def wordy(model: nn.Module, wrap: Callable[[Tensor], object] = WRAPPED[1]) -> nn.Module:
    """The same network, paths and weights included, that returns more than its logits."""
    plain = type(model)
    copied = deepcopy(model)
    copied.__class__ = type("Wordy", (plain,), {"forward": lambda self, inputs: wrap(plain.forward(self, inputs))})
    return copied


@pytest.mark.parametrize("wrap", WRAPPED)
def test_logits_are_found_in_mappings_and_dataclasses(wrap: Callable[[Tensor], object]) -> None:
    logits = torch.randn(2, 3)
    assert logits_of(logits) is logits
    assert logits_of(wrap(logits)) is logits


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"last_hidden_state": torch.zeros(2, 3)}, "dict with ['last_hidden_state']"),
        ((torch.zeros(2, 3), None), "tuple of ['Tensor', 'NoneType']"),
        (ModelOutput(loss=torch.zeros(())), "ModelOutput with ['loss']"),
        (None, "a network returned NoneType"),
    ],
)
def test_what_has_no_logits_is_refused(output: object, said: str) -> None:
    with pytest.raises(TypeError, match="kdlab needs a tensor of logits") as refused:
        logits_of(output)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("shape", "advice"),
    [((4,), "two logits"), ((4, 1), "two logits"), ((4, 7, 3), "one row of logits a sample"), ((), "one row")],
)
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        check_logits(torch.zeros(shape), "the model (Net)")


class Tokens(nn.Module):
    """Returns one row of logits a token."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs.flatten(1).view(len(inputs), 8, 8))


def one_logit() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


MODULES: list[Callable[[nn.Module], Supervised]] = [
    Supervised,
    lambda model: Distilled(model, teacher()),
    lambda model: Joint(model, lambda explained: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), teacher()),
]


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("network", [one_logit, Tokens])
def test_no_module_takes_a_first_step_on_the_wrong_axis(
    make: Callable[[nn.Module], Supervised], network: Callable[[], nn.Module]
) -> None:
    with pytest.raises(
        ValueError, match=r"the model \(\w+\) gives logits of shape .* and \(batch, classes\) is needed"
    ):
        make(network()).training_step(batch(), 0)


@pytest.mark.parametrize("network", [one_logit, Tokens])
def test_no_student_learns_from_a_teacher_of_the_wrong_shape(network: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"the teacher \(\w+\) gives logits of shape"):
        Distilled(student(), Teacher(network())).training_step(batch(), 0)


@pytest.mark.parametrize(("network", "make"), CASES)
def test_every_explainer_explains_it_as_if_it_returned_its_logits(
    network: Callable[[], nn.Module], make: Callable[[nn.Module], Attribution]
) -> None:
    inputs, target, plain = torch.randn(3, *SHAPES[network]), torch.tensor([0, 2, 1]), network()  # type: ignore[index]
    found = []
    for model in (plain, wordy(plain)):
        torch.manual_seed(3)
        explainer = make(model)
        with torch.no_grad():
            found.append((explainer.attribute(inputs, target), explainer.attribute(inputs)))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.parametrize(("network", "make"), LEARNED)
def test_every_learned_explainer_is_fitted_and_deployed_with_it(
    network: Callable[[], nn.Module], make: Callable[[nn.Module], Learned]
) -> None:
    inputs, plain = torch.randn(40, *SHAPES[network]), network()  # type: ignore[index]
    found = []
    for model in (plain, wordy(plain)):
        torch.manual_seed(3)
        explainer = make(model)
        for refits in [explainer] if isinstance(explainer, Refits) else []:
            refits.refit([{"inputs": inputs, "target": torch.zeros(40, dtype=torch.long)}])
        with torch.no_grad():
            found.append(tuple(Explained(model, explainer)(inputs)))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_losses_and_metrics_that_ask_the_model_again_find_them() -> None:
    plain, inputs = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), batch()["inputs"][:4]
    explained, maps, baseline = torch.tensor([0, 1, 2, 0]), torch.rand_like(inputs), torch.zeros_like(inputs[0])
    found = [
        (
            SufficientPart()(model, inputs, logits_of(model(inputs)), maps, baseline),
            NecessaryPart()(model, inputs, maps, explained, baseline),
            Scorer(model, inputs, explained).clean(),
        )
        for model in (plain, wordy(plain))
    ]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.parametrize("wrap", WRAPPED)
def test_a_student_and_a_teacher_of_that_kind_train_as_plain_ones_do(wrap: Callable[[Tensor], object]) -> None:
    found = []
    for kind in (lambda model: model, lambda model: wordy(model, wrap)):
        taught = Ensemble([Teacher(kind(teacher().network)) for _ in range(2)])
        terms = {
            "soft": Term(SoftTargets()),
            "hint": Term(FitNets(), layers={"relu1": "networks.0.head:input"}),
            "why": Term(ExplanationMatch(), explainer=InputGradient),
        }
        torch.manual_seed(5)
        module = Distilled(kind(student()), taught, terms)
        evaluate = Evaluate(
            standard_measures(3, teacher=True, explains=True, explainer=False), InputGradient, probe=4, teacher=taught
        )
        module.prepare(batch())
        trainer = lightning.Trainer(
            max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
            enable_model_summary=False, callbacks=[evaluate],
        )  # fmt: skip
        trainer.fit(module, datamodule=data())
        (tested,) = trainer.test(module, datamodule=data(), verbose=False)
        found.append((list(module.model.parameters()), {k: v for k, v in tested.items() if v == v}))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_its_costs_are_measured() -> None:
    measured = costs(wordy(student()).eval(), batch()["inputs"][:4], InputGradient(student()), None)
    assert measured["flops"] > 0
