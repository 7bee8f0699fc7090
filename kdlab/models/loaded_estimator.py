"""A fitted estimator that somebody already has, in a file of skops, joblib or pickle, as a network."""

import warnings
from collections.abc import Sequence, Sized
from io import BytesIO
from numbers import Real
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.data.paths import resolved
from kdlab.data.preparation import Preparation
from kdlab.models.estimator import FLOOR
from kdlab.models.estimator_bytes import read_back, types_to_trust

#: What is read as a pickle, which runs whatever code its writer put there.
PICKLES = (".joblib", ".pkl", ".pickle")
ENDINGS = (".skops", *PICKLES)
#: What comes of a damaged pickle, or of one whose classes are not here.
UNREADABLE = (UnpicklingError, AttributeError, ImportError, EOFError, LookupError, OSError, TypeError, ValueError)


class LoadedEstimator(nn.Module):
    """A fitted estimator of a file as a black-box network: ``logits = log max(predict_proba(x), 1e-6)``.

    Nothing trains it: ``Supervised`` with ``trainer: {max_epochs: 0}`` takes it as it is, as a teacher or to be scored.
    No gradient reaches the inputs: use losses of logits, and explainers that need predictions alone. The file is read
    whenever the network is built, and never written; the weights hold its bytes, which are compared and not read.

    Args:
        path: A ``.skops`` file, of which nothing is executed: types that skops does not know as harmless are refused
            unless ``trusted_types`` names them. Or a ``.joblib``, ``.pkl`` or ``.pickle`` file, which is read only with
            ``trusted: true``: to read one runs whatever code its writer put there.
        classes: How many logits there are; the data's.
        class_names: What they are called; the data's. The estimator's classes are put in this order by their names.
            Where they are the numbers 0 … classes - 1 and no names, they are taken as the class numbers.
        feature_names: What the values of one input are called; the data's. An estimator that was fitted to named
            columns is given them in its order.
        preparation: How inputs came from the values that people know; the data's.
        own_units: Whether the estimator was fitted to those values, as what was made elsewhere is; False: to the inputs
            as the data module gives them, standardised.
        labels: What the estimator's classes are called, in the order of its columns, where its own ``classes_`` do not
            say it.
        trusted: Whether a pickle may run its code.
        trusted_types: Full names of types in a ``.skops`` file, such as ``sklearn.tree._tree.Tree``, whose content is
            trusted, too: a forged tree can crash the process.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is of another kind, cannot be read, is not trusted, holds no estimator that predicts
            probabilities, or one of other classes or columns than the data; it says which.
    """

    content: Tensor

    def __init__(
        self,
        path: str,
        classes: int,
        class_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        preparation: Preparation | None = None,
        own_units: bool = True,
        labels: Sequence[str] | None = None,
        trusted: bool = False,
        trusted_types: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.file = resolved(path)
        content = _content(self.file, trusted, trusted_types)
        self._estimator = _estimator(self.file, content, trusted_types)
        self._labels = _labels(self.file, self._estimator) if labels is None else list(labels)
        self._columns = _columns(self.file, self._labels, classes, class_names)
        self._features = _features(self.file, self._estimator, feature_names)
        self._preparation = preparation if own_units else None
        self.register_buffer("content", torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of inputs (batch, ...), detached.

        Raises:
            ValueError: If the estimator refuses them, as of another number of features, or gives other columns.
        """
        values = inputs.detach() if self._preparation is None else self._preparation.undone(inputs.detach())
        rows = values.flatten(1).cpu().numpy()
        with warnings.catch_warnings():
            # The columns were put in the order of their names.
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            predicted = self._estimator.predict_proba(rows if self._features is None else rows[:, self._features])
        probabilities = torch.as_tensor(predicted, dtype=torch.float32)
        if probabilities.shape != (len(inputs), len(self._labels)):
            raise ValueError(
                f"{self.file} predicts probabilities of shape {tuple(probabilities.shape)} of {len(inputs)} samples, "
                f"where {len(self._labels)} columns are needed, one for each of {self._labels[:20]}"
            )
        return probabilities[:, self._columns].to(inputs.device).clamp_min(FLOOR).log()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401  torch's signature
        content, errors = state_dict.get(f"{prefix}content"), rest[-1]
        if content is not None and not torch.equal(content.cpu(), self.content.cpu()):
            errors.append(f"{self.file} holds another estimator than the weights were made of; put the old file there")
        super()._load_from_state_dict({**state_dict, f"{prefix}content": self.content}, prefix, *rest)


def _content(file: Path, trusted: bool, trusted_types: Sequence[str]) -> bytes:
    """The bytes of a file that may be read."""
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{file} is no estimator's file by its ending; there are {', '.join(ENDINGS)}")
    if ending in PICKLES and not trusted:
        raise ValueError(
            f"{file} is a pickle, which runs whatever code its writer put there; write trusted: true if you know who "
            f"made it, or keep the estimator by skops.io.dump as a .skops file"
        )
    if ending in PICKLES and trusted_types:
        raise ValueError(f"{file} is a pickle, in which no types are checked; drop trusted_types")
    if ending not in PICKLES and trusted:
        raise ValueError(f"{file} is read type by type; drop trusted: true, and name trusted_types if any are refused")
    return file.read_bytes()


def _estimator(file: Path, content: bytes, trusted_types: Sequence[str]) -> Any:  # noqa: ANN401  any estimator
    """The estimator that the bytes hold; types, or the trust in a pickle, were said by the user."""
    if file.suffix.lower() in PICKLES:
        estimator = _unpickled(file, content)
    else:
        others = [name for name in _types(file, content) if name not in trusted_types]
        if others:
            raise ValueError(
                f"{file} holds types that are not trusted: {', '.join(others)}; if you know who made it, write "
                f"trusted_types: [{', '.join([*trusted_types, *others])}]"
            )
        estimator = read_back(content, trusted_types)
    if not callable(getattr(estimator, "predict_proba", None)):
        raise ValueError(f"{file} holds a {type(estimator).__name__}; an estimator with predict_proba is needed")
    return estimator


def _types(file: Path, content: bytes) -> list[str]:
    try:
        return types_to_trust(content)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _unpickled(file: Path, content: bytes) -> Any:  # noqa: ANN401  whatever it holds
    import joblib

    try:
        return joblib.load(BytesIO(content))
    except UNREADABLE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file} cannot be unpickled here: {said}") from error


def _labels(file: Path, estimator: Any) -> list[str]:  # noqa: ANN401  any estimator
    """What the estimator calls the classes of its columns; whole numbers are written as such."""
    own_classes = getattr(estimator, "classes_", None)
    labels = [] if own_classes is None else list(own_classes)
    if not labels or any(isinstance(label, Sized) and not isinstance(label, str) for label in labels):
        raise ValueError(
            f"{file} holds a {type(estimator).__name__} without one list of classes_: it is not fitted, or no "
            f"classifier of one target; write labels: [...] in the order of its columns if it predicts such"
        )
    whole = [isinstance(label, Real) and float(label).is_integer() for label in labels]
    return [str(int(label)) if is_whole else str(label) for label, is_whole in zip(labels, whole, strict=True)]


def _columns(file: Path, labels: Sequence[str], classes: int, class_names: Sequence[str] | None) -> list[int]:
    """Which column of the probabilities is each class's."""
    numbers = [str(number) for number in range(classes)]
    for class_order in (list(map(str, class_names or numbers)), numbers):
        if sorted(labels) == sorted(class_order):
            return [list(labels).index(name) for name in class_order]
    raise ValueError(
        f"{file} knows the classes {list(labels[:20])}, and the data {list(class_names or numbers)[:20]}; write "
        f"labels: [...], the data's names in the order of its columns, if they are the same by other names"
    )


def _features(file: Path, estimator: Any, names: Sequence[str] | None) -> list[int] | None:  # noqa: ANN401  any estimator
    """Which value of an input is each of the estimator's columns; None where either side names none."""
    own_columns = getattr(estimator, "feature_names_in_", None)
    own = [] if own_columns is None else [str(name) for name in own_columns]
    # LightGBM names what had no names.
    if names is None or len(own) != len(names) or own == [f"Column_{number}" for number in range(len(own))]:
        return None
    if sorted(own) != sorted(names):
        lacking = [name for name in own if name not in names]
        raise ValueError(
            f"{file} was fitted to columns that the data do not have, such as {lacking[:3]}; they have "
            f"{list(names)[:20]}; write feature_names: [...] in the order of the data if they are called otherwise"
        )
    return [list(names).index(name) for name in own]
