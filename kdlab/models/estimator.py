"""Estimators of scikit-learn's kind as networks: forests, boosting, logistic regression, small trees."""

import copy
import re
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import torch
from torch import Tensor, nn

#: The smallest probability: a forest's zero means that no tree said so, and log(0) teaches nothing.
FLOOR = 1e-6


class Estimator(nn.Module):
    """An estimator as a black-box network: ``logits = log max(predict_proba(x), 1e-6)``.

    So ``softmax(logits)`` is the estimator's own probability, up to the floor, and a temperature softens it as that of
    any teacher. A class that the training samples lack has the floor's probability. No gradient reaches the inputs: use
    losses of logits, and explainers that need predictions alone, such as ``KernelShap`` or ``Occlusion``. ``Fitted`` is
    the module that fits it.

    The fitted estimator lies in ``state``, the bytes that skops writes: it travels with the weights, and nothing in it
    is executed when it is read. Types of scikit-learn, NumPy and the estimator's own package are read, no others.

    Args:
        estimator: Such as ``sklearn.ensemble.RandomForestClassifier``, XGBoost's or LightGBM's classifier. Where its
            ``random_state`` is None, it is drawn from torch's generator, so that the stage's seed decides it.
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
            ValueError: If the estimator refuses the samples; its own words follow.
        """
        from skops.io import dumps

        estimator = copy.deepcopy(self._unfitted)
        parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
        if "random_state" in parameters and parameters["random_state"] is None:
            estimator.set_params(random_state=self._draw)
        try:
            estimator.fit(_rows(inputs), target.cpu().numpy())
        except ValueError as error:
            raise ValueError(f"{type(estimator).__name__} refuses the training samples: {error}") from error
        content = _without_addresses(dumps(estimator))
        self.state = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.state.device)
        self._fitted = estimator

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
            from skops.io import get_untrusted_types, loads

            content = self.state.cpu().numpy().tobytes()
            package = type(self._unfitted).__module__.partition(".")[0]
            own = [name for name in get_untrusted_types(data=content) if name.startswith(f"{package}.")]
            self._fitted = loads(content, trusted=own)
        return self._fitted

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401  torch's signature
        # A fitted estimator has as many bytes as it has, where torch expects the shape that stands there.
        state = state_dict.get(f"{prefix}state")
        if state is not None:
            self.state = torch.empty_like(state, device=self.state.device)
            self._fitted = None
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _without_addresses(content: bytes) -> bytes:
    """Return the same skops archive with its objects numbered in order, and without times.

    skops names objects by where they lay in memory: two fits that are equal would have other bytes, and the stages
    that are taught by them other teachers.
    """
    with ZipFile(BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = files.pop("schema.json").decode()
    numbers = {old: str(new) for new, old in enumerate(dict.fromkeys(re.findall(r'"__id__": (\d+)', schema)))}
    schema = re.sub(r'"__id__": (\d+)', lambda match: f'"__id__": {numbers[match[1]]}', schema)
    renamed = {name: f"{numbers.get(Path(name).stem, Path(name).stem)}{Path(name).suffix}" for name in files}
    for old, new in renamed.items():
        schema = schema.replace(f'"{old}"', f'"{new}"')
    written = BytesIO()
    with ZipFile(written, "w") as archive:
        for name, part in [("schema.json", schema.encode()), *sorted((renamed[old], files[old]) for old in files)]:
            archive.writestr(ZipInfo(name), part)
    return written.getvalue()


def _rows(inputs: Tensor) -> Any:  # noqa: ANN401  a NumPy array
    return inputs.detach().flatten(1).cpu().numpy()
