"""A network that gives Shapley values in one forward."""

from collections.abc import Sequence
from copy import deepcopy
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from kdlab.explainers.base import Learned, chosen_class, explaining, predicted_class, watched
from kdlab.explainers.baseline import as_baseline
from kdlab.explainers.networks import fully_connected
from kdlab.explainers.players import Features, Players, draw_coalitions, reveal, spread
from kdlab.losses.numerics import at_least_float32

# A window of about 50 batches for what describe() tells.
WINDOW = 0.02


class AmortisedShapley(Learned):
    """Network that learns the Shapley values of the model's logits, while the model trains or afterwards.

    Jethani et al. 2022 (FastSHAP), equations 5 to 8, https://arxiv.org/abs/2107.07436: ``terms`` is

        ``d * mean over samples, coalitions S and classes of (v(S) - v(none) - sum of phi in S)^2``

    with coalitions from the Shapley kernel's size law in complementary pairs, and ``phi`` after additive normalisation
    (``phi_i + gap / d``, ``gap = v(all) - v(none) - sum phi``), so that values always add up, here and in
    ``attribute``. ``v(S)`` are the model's logits in eval mode, the other players at the baseline: the model is its
    own surrogate, which is fair when it was shown masked inputs, and otherwise what any baseline method sees. With
    ``average`` > 0 a running average of the model is the value function, which moves less.

    Its prediction of the model is ``log_softmax(v(none) + sum phi)`` before normalisation: what it knows without
    asking.

    Args:
        model: The model explained; logits (batch, classes).
        shape: Shape of one input, e.g. [30] or [1, 28, 28].
        classes: Number of classes.
        players: Who plays; None: every value.
        hidden: Widths of the hidden layers, if ``network`` is None.
        network: Maps inputs to (batch, players * classes), for example a convolutional one; None: a fully connected
            one.
        coalitions: Drawn a sample and step, rounded up to even, >= 2. Each costs one forward of the model.
        weight: Of the regression, >= 0.
        average: Share of the running average kept a step, in [0, 1); 0 takes the model itself. The average is saved
            with the explainer.
        baseline: What stands for absence until the data's own is handed in: a number, or values of one input.

    Raises:
        ValueError: If a size, weight or share is out of range.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    assignment: Tensor
    baseline: Tensor
    gap: Tensor
    error: Tensor
    lag: Tensor

    def __init__(
        self,
        model: nn.Module,
        shape: Sequence[int],
        classes: int,
        players: Players | None = None,
        hidden: Sequence[int] = (128, 128),
        network: nn.Module | None = None,
        coalitions: int = 8,
        weight: float = 1.0,
        average: float = 0.0,
        baseline: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(model)
        if classes < 1 or coalitions < 2 or weight < 0 or not 0 <= average < 1:
            raise ValueError(
                "need classes >= 1, coalitions >= 2, weight >= 0 and average in [0, 1), got "
                f"{classes}, {coalitions}, {weight} and {average}"
            )
        self.classes, self.coalitions, self.weight, self.average = classes, coalitions, weight, average
        self.register_buffer("assignment", (players or Features()).assignment(shape), persistent=False)
        self.players = int(self.assignment.max()) + 1
        self.network = network
        size = prod(shape)
        if network is None:
            self.multiples = nn.Sequential(nn.Flatten(), fully_connected(size, hidden, size * classes))
        self.averaged = deepcopy(model).requires_grad_(False) if average else None
        self.register_buffer("baseline", as_baseline(baseline, torch.zeros(1, *shape)).clone())
        for name in ("gap", "error", "lag"):
            self.register_buffer(name, torch.tensor(torch.nan))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predicted log-probabilities (batch, classes) of the model."""
        return log_softmax(self._value(self.baseline[None]) + self._raw(inputs).sum(dim=1), dim=1)

    def terms(self, inputs: Tensor, baseline: Tensor | None = None) -> dict[str, Tensor]:
        """Return the regression; a baseline, where the stage has one, is kept for ``attribute`` too."""
        if baseline is not None:
            self.baseline.copy_(baseline.expand_as(self.baseline))
        if self.training:
            self._follow()
        whole, empty = self._value(inputs), self._value(self.baseline[None])
        raw = self._raw(inputs)
        values = self._normalised(raw, whole - empty)
        if self.players == 1:
            # There is no coalition between none and all, and the normalisation is the answer.
            return {"shapley": 0.0 * values.sum()}
        count = self.coalitions + self.coalitions % 2
        shown = draw_coalitions(len(inputs) * count, self.players, inputs.device).reshape(len(inputs), count, -1)
        target = (
            self._value(reveal(inputs, self.baseline, shown, self.assignment)).reshape(len(inputs), count, -1) - empty
        )
        error = (target - shown.to(values.dtype) @ values).square().mean()
        if self.training:
            self._note(inputs, raw.detach(), whole, empty, error.detach())
        return {"shapley": self.weight * self.players * error}

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return Shapley values in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own.

        They add up to the change of the value function's logit between baseline and input.
        """
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self) as keep_graph, torch.set_grad_enabled(keep_graph):
            clean = watched(inputs, keep_graph)
            values = self._normalised(self._raw(clean), self._value(clean) - self._value(self.baseline[None]))
            explained = chosen_class(values[:, 0], explained)
            values = values.gather(2, explained[:, None, None].expand(-1, self.players, 1))[:, :, 0]
            return spread(values, self.assignment)

    def _raw(self, inputs: Tensor) -> Tensor:
        """Return values (batch, players, classes) before normalisation."""
        if self.network is not None:
            values: Tensor = self.network(inputs)
            return at_least_float32(values).reshape(len(inputs), self.players, self.classes)
        # An input that stands at the baseline changes nothing, so each is worth a multiple of its way from there.
        away = (inputs - self.baseline.to(inputs.dtype)).flatten(1)[:, :, None]
        worth = away * at_least_float32(self.multiples(inputs)).reshape(*away.shape[:2], self.classes)
        empty = worth.new_zeros(len(inputs), self.players, self.classes)
        return empty.index_add(1, self.assignment.flatten(), worth)

    def _normalised(self, raw: Tensor, total: Tensor) -> Tensor:
        return raw + ((total - raw.sum(dim=1)) / self.players)[:, None]

    def _value(self, inputs: Tensor, of: nn.Module | None = None) -> Tensor:
        """Return the value function's logits, without gradient."""
        source = of or (self.model if self.averaged is None else self.averaged)
        with explaining(source), torch.no_grad():
            logits: Tensor = source(inputs.detach().clone())
            return at_least_float32(logits)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the model; counts and the like are taken over."""
        if self.averaged is None:
            return
        state, now = self.averaged.state_dict(), self.model.state_dict()
        for name, kept in state.items():
            if kept.is_floating_point():
                kept.lerp_(now[name].detach(), 1 - self.average)
            else:
                kept.copy_(now[name])

    def _note(self, inputs: Tensor, raw: Tensor, whole: Tensor, empty: Tensor, error: Tensor) -> None:
        lag = (whole - self._value(inputs, self.model)).abs().mean() if self.averaged is not None else torch.zeros(())
        gap = (whole - empty - raw.sum(dim=1)).abs().mean()
        for kept, new in ((self.gap, gap), (self.error, error.sqrt()), (self.lag, lag)):
            kept.copy_(torch.where(kept.isnan(), new.to(kept), torch.lerp(kept, new.to(kept), WINDOW)))

    def describe(self) -> dict[str, float]:
        """Return running means over the latest batches, in logits; NaN before the first.

        ``efficiency_gap``: mean absolute ``v(all) - v(none) - sum phi`` before normalisation. ``coalition_error``:
        root mean square of the regression. ``lag``: mean absolute difference between the value function and the
        model as it is.
        """
        return {"efficiency_gap": float(self.gap), "coalition_error": float(self.error), "lag": float(self.lag)}
