"""The explainer's part of a joint stage: what it sees of the student, what trains it, and what is logged about it."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlab.explainers.base import Describes, Refits
from kdlab.explainers.base import Terms as HasTerms
from kdlab.losses.numerics import at_least_float32
from kdlab.modules.lag import Lag
from kdlab.modules.supervised import Terms
from kdlab.randomness import Stream
from kdlab.signals.vocabulary import Asked, Signals


class ExplainerSide:
    """``L_e = L_i + beta * L_c`` and the explainer's own terms, computed on a random stream of its own.

    ``L_i = KL(p_s || q)`` and ``L_c = sum over classes of (p_s - q)^2``, means over the batch at temperature 1, where
    p_s is the student's distribution and q is the explainer's prediction of it. The article behind this prints L_i as
    ``mean(log p_s - q)``, which is constant for a normalised q and cannot train; its text asks for a log loss between
    the two distributions. KL is used and not cross-entropy, because cross-entropy would drive a coupled student to
    one-hot outputs.

    Args:
        explainer: the module that learns to predict the student.
        beta: weight of L_c, >= 0.
        couple: whether L_e has a gradient with respect to the student.
        seed: of the random stream.
    """

    def __init__(self, explainer: nn.Module, beta: float, couple: bool, seed: int) -> None:
        self.explainer, self.beta, self.couple = explainer, beta, couple
        self._ask_own = Asked(explainer.terms) if isinstance(explainer, HasTerms) else None
        self._stream, self._lag = Stream(seed), Lag()

    def terms(self, signals: Signals, masked: bool) -> tuple[Signals, Terms]:
        """Return the signals as the explainer sees them, and the weight and value of each term by name.

        Args:
            signals: of the whole batch.
            masked: whether the student was trained on a masked batch, so that its outputs on the whole batch are
                computed here.
        """
        with self._stream:
            seen = self._seen(signals, masked)
            student = F.log_softmax(at_least_float32(seen["logits"]), dim=1)
            explained = F.log_softmax(at_least_float32(seen["explainer_logits"]), dim=1)
            terms: Terms = {
                "imitation": (1.0, F.kl_div(explained, student, log_target=True, reduction="batchmean")),
                "consistency": (self.beta, (student.exp() - explained.exp()).square().sum(dim=1).mean()),
            }
            if self._ask_own is not None:
                terms |= {name: (1.0, value) for name, value in self._ask_own(seen).items()}
        return seen, terms

    def _seen(self, signals: Signals, masked: bool) -> Signals:
        """Return signals with the student's outputs, detached unless coupled, and the explainer's prediction."""
        # A masked student has not seen the whole batch yet; uncoupled, this forward pass needs no graph.
        if masked and not self.couple:
            with torch.no_grad():
                logits = signals["logits"]
        else:
            logits = signals["logits"] if self.couple else signals["logits"].detach()
        once = {"explainer_logits": lambda given: self.explainer(given["inputs"])}
        return signals.joined({"logits": logits, "preds": logits}, once)

    def refit(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Fit the explainer again if it is one that is fitted and not trained; otherwise no batch is drawn."""
        if isinstance(self.explainer, Refits):
            with self._stream:
                self.explainer.refit(batches)

    def see(self, signals: Signals) -> None:
        """Note the outputs of student and explainer; each validation must call this with the same samples."""
        self._lag.see(signals["logits"], signals["explainer_logits"])

    def numbers(self) -> dict[str, float]:
        """Return the numbers that the explainer reports about itself, without those that have no value yet (NaN)."""
        own = self.explainer.describe() if isinstance(self.explainer, Describes) else {}
        return {name: value for name, value in own.items() if value == value}

    def lag(self) -> dict[str, float]:
        """Return how far the explainer lags behind the student, by name; call it once for each validation."""
        return self._lag.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random stream and the student's last outputs, for a checkpoint."""
        return {"stream": self._stream.state_dict(), "lag": self._lag.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a ``state_dict``."""
        self._stream.load_state_dict(state["stream"])
        self._lag.load_state_dict(state["lag"], device)
