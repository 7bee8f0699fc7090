"""``prepare`` looks, sizes the losses' parts, and leaves everything else as it was."""

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.additive_network import AdditiveNetwork
from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.selector import Selector
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.relations.crd import CRD
from kdlab.models.conv_net import ConvNet
from kdlab.models.res_net import ResNet
from kdlab.modules.distilled import Distilled
from kdlab.modules.ema import EMA
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.modules.term import Sized, Term
from kdlab.randomness import global_state
from kdlab.teacher import Teacher
from tests.losses.test_every_loss import EVERY
from tests.modules.fitting import batch

#: Models of the package with batch statistics, each with a layer of maps and one of vectors.
MODELS: dict[str, Callable[[], nn.Module]] = {
    "ConvNet": lambda: ConvNet(classes=3, width=4),
    "ResNet": lambda: ResNet(classes=3, depth=8, channels=1, width=4),
}


def flat(value: Any) -> Iterator[Tensor]:
    """All tensors of a state, numbers among them."""
    if isinstance(value, Tensor):
        yield value.detach().clone().nan_to_num(nan=-7.0) if value.is_floating_point() else value.clone()
    elif isinstance(value, dict):
        for part in value.values():
            yield from flat(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from flat(part)
    elif isinstance(value, int | float) and value is not None:
        yield torch.tensor(float(value))


@contextmanager
def check_stays(module: Supervised, but: tuple[str, ...] = ()) -> Iterator[None]:
    """Weights, buffers, modes, gradients and random states are the same after the block."""

    def seen() -> dict[str, list[Tensor]]:
        kept = {n: v for n, v in module.named_parameters() if not n.startswith(but)}
        buffers = {n: v for n, v in module.named_buffers() if not n.startswith(but)}
        streams: list[Any] = []
        if isinstance(module, Joint):
            streams = [module._side.state_dict(), module._masks.state_dict()]
        teacher = getattr(module, "teacher", None)
        return {
            "weights": list(flat(kept)),
            "buffers": list(flat(buffers)),
            "teacher": [] if teacher is None else list(flat(teacher.network.state_dict())),
            "modes": [torch.tensor([part.training for part in module.model.modules()])],
            "random": list(flat(global_state())),
            "streams": list(flat(streams)),
        }

    before = seen()
    yield
    after = seen()
    for name, values in before.items():
        assert len(after[name]) == len(values), name
        assert all(torch.equal(a, b) for a, b in zip(after[name], values, strict=True)), name
    assert all(parameter.grad is None for parameter in module.parameters())


def takes_layers(loss: nn.Module) -> bool:
    return "features" in inspect.signature(loss.forward).parameters


SIZED = [CRD(samples=200, negatives=8), *(loss for loss in EVERY if isinstance(loss, Sized) and takes_layers(loss))]
SIZED = [loss for number, loss in enumerate(SIZED) if number == 0 or not isinstance(loss, CRD)]


def test_there_are_losses_that_size_themselves() -> None:
    assert len(SIZED) >= 5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", SIZED, ids=lambda loss: type(loss).__name__)
def test_every_loss_that_sizes_itself_leaves_the_student_as_it_was(loss: nn.Module, model: str) -> None:
    torch.manual_seed(1)
    taught = Teacher(MODELS[model]())
    maps = [path for path, part in taught.network.named_modules() if isinstance(part, nn.BatchNorm2d)][:2]
    term = Term(copy.deepcopy(loss), layers={path: path for path in maps})
    student = MODELS[model]()
    module = Distilled(student, taught, {"hint": term})
    module.train()
    with check_stays(module, but=("losses.",)):
        module.prepare(batch())


EXPLAINERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "AmortisedShapley": lambda model: AmortisedShapley(model, shape=[1, 8, 8], classes=3, average=0.9),
    "Selector": lambda model: Selector(model, shape=[1, 8, 8], classes=3, chosen=5),
    "AdditiveNetwork": lambda model: AdditiveNetwork(model, inputs=64, classes=3, hidden=2),
}


@pytest.mark.parametrize("explainer", EXPLAINERS)
@pytest.mark.parametrize("couple", [False, True])
def test_a_joint_module_and_its_random_streams_stay_as_they_were(explainer: str, couple: bool) -> None:
    torch.manual_seed(1)
    module = Joint(
        MODELS["ConvNet"](), EXPLAINERS[explainer], Teacher(MODELS["ConvNet"]()), couple=couple, masked_share=0.5
    )
    module.train()
    module.baseline = torch.full((1, 8, 8), 0.25)
    with check_stays(module):
        module.prepare(batch())
    module.prepare(batch())
    # The streams work: a step of training draws from both.
    before = list(flat([module._side.state_dict(), module._masks.state_dict()]))
    module.training_step(batch(), 0)
    after = list(flat([module._side.state_dict(), module._masks.state_dict()]))
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_student_that_teaches_itself_stays_as_it_was() -> None:
    module = Distilled(MODELS["ConvNet"](), self_teacher=EMA)
    with check_stays(module):
        module.prepare(batch())


def test_a_further_term_does_not_change_what_the_parts_of_another_begin_with() -> None:
    found = []
    for more in ({}, {"first": Term(FitNets(), layers={"block2.norm": "block1.norm"})}):
        torch.manual_seed(1)
        hint = Term(FitNets(), layers={"block1.norm": "block2.norm"})
        module = Distilled(MODELS["ConvNet"](), Teacher(MODELS["ConvNet"]()), {**more, "hint": hint})
        module.prepare(batch())
        found.append(list(hint.loss.parameters()))
    assert found[0]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_compiled_student_can_be_taught_by_explanations() -> None:
    slopes = []
    for compiled in (False, True):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 3))
        module = Distilled(
            torch.compile(network, backend="aot_eager") if compiled else network,
            Teacher(MODELS["ConvNet"]()),
            {"why": Term(ExplanationMatch(), explainer=InputGradient)},
        )
        module.training_step(batch(), 0).backward()
        slopes.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(slopes[1], slopes[0])
