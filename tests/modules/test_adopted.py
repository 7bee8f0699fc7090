"""LightningModules of anybody's: kdlab's answer for themselves, another one is its own network."""

import pytest
import torch
from torch import nn

from kdlab.data.description import Description
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.models.mlp import MLP
from kdlab.modules.adopted import ForeignModule, adopt_module
from kdlab.modules.distilled import Distilled
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.teacher import Teacher
from tests.callbacks.projects import Foreign


def model() -> MLP:
    return MLP(inputs=5, classes=3)


def surrogate(student: nn.Module) -> NeuralSurrogate:
    return NeuralSurrogate(student, inputs=5, classes=3)


def joint(**arguments: object) -> Joint:
    return Joint(model(), surrogate, Teacher(model()), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "uses_unlabelled"),
    [(Supervised(model()), False), (Distilled(model(), Teacher(model())), True), (joint(), True)],
)
def test_kdlabs_own_answer_for_themselves(module: Supervised, uses_unlabelled: bool) -> None:
    adopted = adopt_module(module)
    assert adopted is module
    assert adopted.has_terms
    assert not adopted.frozen
    assert adopted.uses_unlabelled == uses_unlabelled


def test_a_learned_explainer_counts_where_it_has_a_weight() -> None:
    module = joint()
    assert adopt_module(module).learned_explainer is module.explainer
    assert adopt_module(joint(explain_weight=0.0)).learned_explainer is None
    assert adopt_module(Distilled(model(), Teacher(model()))).learned_explainer is None
    assert adopt_module(Supervised(model())).learned_explainer is None


def test_a_joint_module_says_whether_its_student_is_frozen() -> None:
    assert adopt_module(joint(freeze=True)).frozen


def test_a_foreign_module_is_its_own_network_and_keeps_how_it_learns_to_itself() -> None:
    module = Foreign()
    adopted = adopt_module(module)
    assert isinstance(adopted, ForeignModule)
    assert adopted.model is module
    assert adopted.learned_explainer is None
    assert (adopted.has_terms, adopted.uses_unlabelled, adopted.frozen) == (False, False, False)


def test_a_foreign_module_offers_its_logits() -> None:
    module = Foreign().eval()
    adopted, inputs = adopt_module(module), torch.randn(4, 5)
    signals = adopted.signals({"inputs": inputs, "target": torch.zeros(4, dtype=torch.int64)})
    assert set(signals) == {"inputs", "target", "model", "logits", "preds"}
    assert signals["model"] is module
    assert torch.equal(signals["logits"], module(inputs))
    assert signals["preds"] is signals["logits"]
    assert adopted.terms(signals, step=0) == {}


def test_preparing_a_foreign_module_leaves_it_alone() -> None:
    module = Foreign()
    before, attributes = {name: value.clone() for name, value in module.state_dict().items()}, set(vars(module))
    adopted = adopt_module(module)
    adopted.take_baseline(Description(baseline=torch.ones(5)))
    adopted.prepare({"inputs": torch.zeros(2, 5)})
    assert set(vars(module)) == attributes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_baseline_of_data_that_have_none_is_nobodys() -> None:
    module = Supervised(model())
    module.take_baseline(Description())
    assert module.baseline is None
    module.take_baseline(Description(baseline=torch.ones(5)))
    module.take_baseline(Description())
    assert module.baseline is not None
    assert module.baseline.tolist() == [1.0] * 5
