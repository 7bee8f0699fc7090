"""LightningModules of anybody's, adopted: the one place that asks whose they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from kdlab.data.description import Description
from kdlab.modules.supervised import Supervised, Terms
from kdlab.signals.outputs import logits_of
from kdlab.signals.vocabulary import Signals


class StageModule(Protocol):
    """What kdlab asks of a stage's module. ``Supervised`` answers for itself, ``ForeignModule`` for every other one."""

    #: Whether it is a model and terms of a loss that can be looked at before it trains; else it is taken as it is.
    has_terms: ClassVar[bool]
    #: Whether epochs of gradient steps train it.
    by_gradients: ClassVar[bool]
    #: Whether its network predicts any input, so that it can be explained and timed.
    explainable: ClassVar[bool]
    #: Whether unlabelled samples teach it anything.
    uses_unlabelled: ClassVar[bool]
    #: Called with the terms of each training step while their graph is alive.
    observe: Callable[[Terms], None] | None

    @property
    def model(self) -> nn.Module:
        """The network that is trained and scored."""

    @property
    def learned_explainer(self) -> nn.Module | None:
        """The explainer that is trained with the network and counts; None where there is none."""

    @property
    def frozen(self) -> bool:
        """Whether the network is left as it is."""

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """What it offers to losses and metrics for one batch."""

    def terms(self, signals: Signals, step: int) -> Terms:
        """Weight and value of each term of its loss at this optimiser step."""

    def take_baseline(self, description: Description) -> None:
        """Take from the data what stands for an absent feature."""

    def prepare(self, batch: object) -> None:
        """Check on one batch that it can be trained; the parts that the data size are made."""


@dataclass
class ForeignModule:
    """A LightningModule that is none of kdlab's: it is its own network, and how it learns is its own affair.

    Args:
        model: The module.
        observe: Never called: no terms are known.
    """

    has_terms: ClassVar[bool] = False
    by_gradients: ClassVar[bool] = True
    explainable: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = False
    learned_explainer: ClassVar[None] = None
    frozen: ClassVar[bool] = False

    model: LightningModule
    observe: Callable[[Terms], None] | None = None

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """The batch, the module, and its output as logits."""
        return Signals(
            {**batch, "model": self.model},
            {
                "logits": lambda signals: logits_of(self.model(signals["inputs"])),
                "preds": lambda signals: signals["logits"],
            },
        )

    def terms(self, signals: Signals, step: int) -> Terms:
        """None are known."""
        return {}

    def take_baseline(self, description: Description) -> None:
        """Nothing of it asks for one."""

    def prepare(self, batch: object) -> None:
        """Nothing is known that could be checked."""


def adopt_module(module: LightningModule) -> StageModule:
    """Return the module as kdlab asks it."""
    return module if isinstance(module, Supervised) else ForeignModule(module)
