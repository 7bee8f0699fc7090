"""The explainer's side of a joint stage: what it sees of the student, what trains it, what is told about it."""

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
    """``L_e = L_i + beta * L_c`` and the explainer's own terms, on a random stream of its own.

    ``L_i = KL(p_s || q)`` and ``L_c = sum over classes of (p_s - q)^2``, means over the batch at temperature 1, where
    q is the explainer's prediction of the student. The article behind this prints L_i as ``mean(log p_s - q)``, which
    is constant for a normalised q and cannot train; its words ask for a log loss between the two distributions. It is
    KL and not cross-entropy, since a coupled student would be driven to one-hot outputs by cross-entropy.

    Args:
        explainer: what learns the student.
        beta: weight of L_c, >= 0.
        couple: whether L_e has a gradient by the student.
        seed: of the random stream.
    """

    def __init__(self, explainer: nn.Module, beta: float, couple: bool, seed: int) -> None:
        self.explainer, self.beta, self.couple = explainer, beta, couple
        self._ask_own = Asked(explainer.terms) if isinstance(explainer, HasTerms) else None
        self._stream, self._lag = Stream(seed), Lag()

    def terms(self, signals: Signals, masked: bool) -> tuple[Signals, Terms]:
        """The signals as the explainer sees them, and weight and value of each term.

        Args:
            signals: of the whole batch.
            masked: whether the student was trained on another one, so that it is asked about this one here.
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
        """The student's outputs as they are or detached, and the explainer's prediction of them, once."""
        if masked and not self.couple:
            with torch.no_grad():
                logits = signals["logits"]
        else:
            logits = signals["logits"] if self.couple else signals["logits"].detach()
        once = {"explainer_logits": lambda given: self.explainer(given["inputs"])}
        return signals.joined({"logits": logits, "preds": logits}, once)

    def refit(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Fit anew an explainer that is fitted and not trained; the batches of others are never asked for."""
        if isinstance(self.explainer, Refits):
            with self._stream:
                self.explainer.refit(batches)

    def see(self, signals: Signals) -> None:
        """Note where student and explainer are, on the same samples at each validation."""
        self._lag.see(signals["logits"], signals["explainer_logits"])

    def numbers(self) -> dict[str, float]:
        """What the explainer tells about itself; a number that there is not yet (NaN) is left out."""
        own = self.explainer.describe() if isinstance(self.explainer, Describes) else {}
        return {name: value for name, value in own.items() if value == value}

    def lag(self) -> dict[str, float]:
        """How far it is behind the student, by its name; asked once a validation."""
        return self._lag.step()

    def state_dict(self) -> dict[str, Any]:
        """The random stream's place, and where the student was, for a checkpoint."""
        return {"stream": self._stream.state_dict(), "lag": self._lag.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self._stream.load_state_dict(state["stream"])
        self._lag.load_state_dict(state["lag"], device)
