"""The teacher: a frozen source of soft labels.

A teacher is no ``nn.Module``, so that no optimiser, checkpoint, parameter count or DDP bucket ever includes it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from kdlab.explainers.base import Attribution
from kdlab.records.soft_labels import SoftLabels
from kdlab.signals.capture import capture
from kdlab.signals.outputs import check_class_order, check_logits, logits_of


@runtime_checkable
class KnowsSamples(Protocol):
    """A network that knows its logits for the data's samples and for nothing else, such as soft labels from a file."""

    def of_samples(self, index: Tensor) -> Tensor:
        """Return the logits (batch, classes) of samples by their ``index`` (batch,)."""
        ...

    def __call__(self, inputs: Tensor) -> Tensor:
        """Raise a ValueError, because logits of arbitrary inputs are not known."""
        ...


class Teacher:
    """A network in eval mode whose parameters take no gradient, with its cached soft labels if there are any.

    Args:
        network: any network from inputs to logits, or to a mapping or dataclass that holds them as ``logits``; it is
            frozen in place.
        soft_labels: its logits on fixed views of the data, used for batches that carry ``index`` and ``view``.
        class_names: the class of each logit, in order; if the data name their classes too, the two are compared before
            training. None means that the names are not known.
    """

    #: Whether explainers and losses can ask it about any input, and differentiate or look inside.
    explainable: bool = True

    def __init__(
        self,
        network: nn.Module,
        soft_labels: SoftLabels | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.soft_labels = soft_labels
        self.class_names = None if class_names is None else list(class_names)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes), computed now; gradients reach the inputs if these require them.

        Raises:
            TypeError: If the network returns neither a tensor nor something that has one as ``logits``.
            ValueError: If the logits are not (batch, classes) with two classes or more.
        """
        return check_logits(logits_of(self.network(inputs)), f"the teacher ({type(self.network).__name__})")

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return logits (batch, classes): cached ones if the batch has ``index`` and ``view``, else computed ones."""
        # An augmented batch has no view, so its logits cannot be in the cache.
        if self.soft_labels is not None and "view" in batch and "index" in batch:
            return self.soft_labels.rows(batch["index"], batch["view"])
        return self.uncached(batch)

    def exact_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return logits (batch, classes) for metrics: as ``logits``, but computed if the cache is not exact."""
        if self.soft_labels is None or self.soft_labels.exact:
            return self.logits(batch)
        return self.uncached(batch)

    def uncached(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the logits (batch, classes) of a batch, computed by the network."""
        with torch.no_grad():
            return self(batch["inputs"])

    def logits_and_features(self, batch: Mapping[str, Tensor], layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        """Return the computed logits of a batch, and the tensors of the named layers from the same forward pass."""
        with torch.no_grad(), capture(self.network, layers) as captured:
            logits = self(batch["inputs"])
            return logits, captured.ordered(layers)

    def attributions(self, inputs: Tensor, target: Tensor, explainer: Callable[[nn.Module], Attribution]) -> Tensor:
        """Return the teacher's attributions of the classes ``target``, of the inputs' shape and detached."""
        with torch.no_grad():
            # Explainers turn gradients on themselves; called without them, they return detached attributions.
            return explainer(self.network).attribute(inputs, target)

    def to(self, device: torch.device | str) -> Self:
        """Move the network and the soft labels to a device, and return this teacher."""
        self.network.to(device)
        if self.soft_labels is not None:
            self.soft_labels.to(device)
        return self

    def state_hash(self) -> str:
        """Return a hash of every parameter, buffer and module's mode; training a student must not change it."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            # As bytes, because numpy does not have all of torch's types.
            digest.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
        digest.update(str([module.training for module in self.network.modules()]).encode())
        return digest.hexdigest()


class BlackBox(Teacher):
    """A teacher that can only predict: an estimator, a remote service, a compiled model.

    Args:
        predict: a callable from inputs (batch, ...) to logits or log-probabilities (batch, classes); it is never
            differentiated.
        soft_labels, class_names: as in Teacher.
    """

    explainable = False

    def __init__(
        self,
        predict: Callable[[Tensor], Tensor],
        soft_labels: SoftLabels | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(Predictor(predict), soft_labels, class_names)

    def logits_and_features(self, batch: Mapping[str, Tensor], layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and no features.

        Raises:
            ValueError: If layers are asked for.
        """
        if layers:
            raise ValueError(
                f"the teacher is a black box and has no layers {list(layers)}; use losses of logits, or a network"
            )
        return self.logits(batch), []

    def attributions(self, inputs: Tensor, target: Tensor, explainer: Callable[[nn.Module], Attribution]) -> Tensor:
        """Raise a ValueError, because the explainers of losses need a network."""
        raise ValueError("the teacher is a black box and cannot be explained; use losses of logits, or a network")


class RecordedTeacher(BlackBox):
    """A teacher whose logits were read from a file; it knows the data's samples, by ``index``, and nothing else.

    Args:
        network: a network such as ``SoftLabelFile``, which refuses arbitrary inputs.
    """

    def __init__(self, network: KnowsSamples) -> None:
        super().__init__(network)
        self._samples = network

    def uncached(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the recorded logits (batch, classes).

        Raises:
            ValueError: If the batch has no ``index``, or no ``view``, which augmented batches lack.
        """
        if "view" not in batch or "index" not in batch:
            return super().uncached(batch)
        return self._samples.of_samples(batch["index"]).to(batch["index"].device)


def teacher_of(network: nn.Module) -> Teacher:
    """Return the network as a teacher: a ``RecordedTeacher`` if it knows samples only, else a ``Teacher``."""
    return RecordedTeacher(network) if isinstance(network, KnowsSamples) else Teacher(network)


class Predictor(nn.Module):
    """A function as a network without weights."""

    def __init__(self, predict: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.predict = predict

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes), detached."""
        return self.predict(inputs)


def mean_of_logits(logits: Tensor) -> Tensor:
    """Return the mean over the first axis of logits (teachers, batch, classes)."""
    return logits.mean(dim=0)


class Together(nn.Module):
    """Several networks whose logits are combined into those of one."""

    def __init__(self, networks: Sequence[nn.Module], combine: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.combine = combine

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the combined logits (batch, classes)."""
        return self.combine(torch.stack([logits_of(network(inputs)) for network in self.networks]))


class Ensemble(Teacher):
    """Several teachers as one; cached logits are combined where a teacher has them.

    Args:
        teachers: the members, classifiers of the same classes.
        combine: from logits (teachers, batch, classes) to logits (batch, classes), such as ``MeanOfProbabilities``.

    Raises:
        ValueError: If there are no teachers, or they name their classes in different orders.
    """

    def __init__(self, teachers: Sequence[Teacher], combine: Callable[[Tensor], Tensor] = mean_of_logits) -> None:
        if not teachers:
            raise ValueError("an ensemble needs at least one teacher")
        named = [teacher.class_names for teacher in teachers if teacher.class_names is not None]
        for other in named[1:]:
            check_class_order(other, named[0], "a teacher of the ensemble")
        networks = Together([teacher.network for teacher in teachers], combine)
        super().__init__(networks, class_names=named[0] if named else None)
        self.explainable = all(teacher.explainable for teacher in teachers)
        self._teachers, self._combine = list(teachers), combine

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the teachers' logits (batch, classes), combined."""
        return self._combine(torch.stack([teacher.logits(batch) for teacher in self._teachers]))

    def exact_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the teachers' exact logits (batch, classes), combined."""
        return self._combine(torch.stack([teacher.exact_logits(batch) for teacher in self._teachers]))

    def to(self, device: torch.device | str) -> Self:
        """Move all teachers to a device, and return this one."""
        # The network of this ensemble consists of their networks, and so moves with them.
        for teacher in self._teachers:
            teacher.to(device)
        return self
