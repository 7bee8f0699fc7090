"""Every LightningModule as kdlab uses it; no other code asks whether a module is kdlab's own or a user's."""

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
    """What kdlab needs of a stage's module. ``Supervised`` provides it; ``ForeignModule`` wraps any other module."""

    #: Whether it has a model and loss terms that can be checked before training; else it is used unchecked.
    has_terms: ClassVar[bool]
    #: Whether it is trained by gradient steps over epochs.
    by_gradients: ClassVar[bool]
    #: Whether its network can predict any input, so that it can be explained and timed.
    explainable: ClassVar[bool]
    #: Whether it learns from unlabelled samples.
    uses_unlabelled: ClassVar[bool]
    #: Called with the terms of each training step while their graph is alive.
    observe: Callable[[Terms], None] | None

    @property
    def model(self) -> nn.Module:
        """The network that is trained and scored."""

    @property
    def learned_explainer(self) -> nn.Module | None:
        """The explainer that is trained with the network and scored; None if there is none."""

    @property
    def frozen(self) -> bool:
        """Whether the network stays unchanged."""

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """Return the signals that losses and metrics can ask for on one batch."""

    def terms(self, signals: Signals, step: int) -> Terms:
        """Return the weight and value of each term of the loss at this optimiser step, by name."""

    def take_baseline(self, description: Description) -> None:
        """Take from the data the value that stands for an absent feature."""

    def prepare(self, batch: object) -> None:
        """Check on one batch that the module can be trained, and create those parts whose size depends on the data."""


@dataclass
class ForeignModule:
    """A user's LightningModule. It is its own network, and kdlab knows nothing of how it learns.

    Args:
        model: The module.
        observe: Never called, because no terms are known.
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
        """Return the batch, the module, and the module's output as logits."""
        return Signals(
            {**batch, "model": self.model},
            {
                "logits": lambda signals: logits_of(self.model(signals["inputs"])),
                "preds": lambda signals: signals["logits"],
            },
        )

    def terms(self, signals: Signals, step: int) -> Terms:
        """Return no terms, because none are known."""
        return {}

    def take_baseline(self, description: Description) -> None:
        """Do nothing, because no known term asks for a baseline."""

    def prepare(self, batch: object) -> None:
        """Do nothing, because nothing is known that could be checked."""


def adopt_module(module: LightningModule) -> StageModule:
    """Return the module itself if it is kdlab's, else a wrapper around it."""
    return module if isinstance(module, Supervised) else ForeignModule(module)
