"""Estimators of scikit-learn's kind as networks: forests, boosting, logistic regression, small trees."""

import copy
import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.models.estimator_bytes import read_back, types_of_its_own, types_to_trust, written

#: The smallest probability: a forest's zero means that no tree said so, and log(0) teaches nothing.
FLOOR = 1e-6


class Estimator(nn.Module):
    """An estimator as a black-box network: ``logits = log max(predict_proba(x), 1e-6)``.

    So ``softmax(logits)`` is the estimator's own probability, up to the floor, and a temperature softens it as that of
    any teacher. A class that the training samples lack has the floor's probability. No gradient reaches the inputs: use
    losses of logits, and explainers that need predictions alone, such as ``KernelShap`` or ``Occlusion``. ``Fitted`` is
    the module that fits it.

    The fitted estimator lies in ``state``, the bytes that skops writes: it travels with the weights, and nothing in it
    is executed when it is read. Types of scikit-learn, NumPy and the packages of the estimator and of those inside it
    are read, no others. Equal fits have equal bytes as far as the estimator's own arithmetic does: LightGBM's
    ``deterministic: true`` and ``force_col_wise: true`` promise that on several threads, too.

    Args:
        estimator: Such as ``sklearn.ensemble.RandomForestClassifier``, ``lightgbm.LGBMClassifier``, or
            ``xgboost.XGBClassifier``, which needs a sample of each class up to the last. Where its ``random_state`` is
            None, it is drawn from torch's generator, so that the stage's seed decides it.
        classes: How many logits there are, >= 2.

    Raises:
        TypeError: If the estimator lacks ``fit`` or ``predict_proba``.
        ValueError: If there are fewer than two classes.
    """

    state: Tensor

    def __init__(self, estimator: Any, classes: int) -> None:  # noqa: ANN401  any that has these methods
        super().__init__()
        if not all(callable(getattr(estimator, method, None)) for method in ("fit", "predict_proba")):
            raise TypeError(
                f"{type(estimator).__name__} cannot teach: an estimator needs fit and predict_proba "
                f"(scikit-learn's SVC has it with probability=True, or inside CalibratedClassifierCV)"
            )
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        self.classes = classes
        self._unfitted = estimator
        self._fitted: Any = None
        self._draw = int(torch.randint(2**31 - 1, (1,)))
        self.register_buffer("state", torch.zeros(0, dtype=torch.uint8))

    @property
    def fitted(self) -> bool:
        """Whether there is something to predict with."""
        return self.state.numel() > 0

    def fit(self, inputs: Tensor, target: Tensor) -> None:
        """Fit a new copy of the estimator.

        Args:
            inputs: (samples, ...), flattened to (samples, features).
            target: Class numbers (samples,), all labelled.

        Raises:
            TypeError: If the fitted estimator cannot be kept without pickle.
            ValueError: If the estimator refuses the samples or its own arguments, whose words follow, or it cannot be
                read again.
        """
        estimator = copy.deepcopy(self._unfitted)
        parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
        if "random_state" in parameters and parameters["random_state"] is None:
            estimator.set_params(random_state=self._draw)
        try:
            estimator.fit(_rows(inputs), target.cpu().numpy())
        except _refusals(estimator) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"{type(estimator).__name__} refuses the training samples: {said}") from error
        content = written(estimator)
        self._fitted = self._read(content)  # so that what is scored is what is kept
        self.state = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.state.device)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes), detached; all zero before it is fitted."""
        logits = inputs.new_zeros(len(inputs), self.classes, dtype=torch.float32)
        if not self.fitted:
            return logits
        estimator = self._loaded()
        probabilities = torch.as_tensor(estimator.predict_proba(_rows(inputs)), dtype=torch.float32)
        known = torch.as_tensor(estimator.classes_, dtype=torch.int64)
        logits.fill_(FLOOR)
        logits[:, known.to(logits.device)] = probabilities.to(logits.device)
        return logits.clamp_min(FLOOR).log()

    def _loaded(self) -> Any:  # noqa: ANN401  a fitted estimator
        if self._fitted is None:
            self._fitted = self._read(self.state.cpu().numpy().tobytes())
        return self._fitted

    def _read(self, content: bytes) -> Any:  # noqa: ANN401  a fitted estimator
        try:
            return read_back(content, types_of_its_own(types_to_trust(content), self._unfitted))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the kept state of {type(self._unfitted).__name__} is not read: {error}") from error

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401  torch's signature
        # A fitted estimator has as many bytes as it has, where torch expects the shape that stands there.
        state = state_dict.get(f"{prefix}state")
        if state is not None:
            self.state = torch.empty_like(state, device=self.state.device)
            self._fitted = None
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _refusals(estimator: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401  any estimator
    """What it may raise when it does not fit: ``ValueError``, and errors that its module names, such as LightGBM's."""
    named = vars(sys.modules[type(estimator).__module__]).values()
    own = [kind for kind in named if inspect.isclass(kind) and issubclass(kind, Exception)]
    return ValueError, *(kind for kind in own if not issubclass(kind, Warning) and kind.__module__ != "builtins")


def _rows(inputs: Tensor) -> Any:  # noqa: ANN401  a NumPy array
    return inputs.detach().flatten(1).cpu().numpy()
