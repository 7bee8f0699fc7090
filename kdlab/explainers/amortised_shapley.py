"""A network that gives Shapley values in one forward."""

from collections.abc import Sequence
from copy import deepcopy
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from kdlab.explainers.base import Learned, chosen_class, explaining, predicted_class, watched
from kdlab.explainers.baseline import as_baseline
from kdlab.explainers.deployed import Deployed
from kdlab.explainers.networks import fully_connected
from kdlab.explainers.players import Features, Players, draw_coalitions, reveal, spread
from kdlab.losses.numerics import at_least_float32
from kdlab.signals.outputs import logits_of

# A window of about 50 batches for what describe() tells.
WINDOW = 0.02


class AmortisedShapley(Learned):
    """Network that learns the Shapley values of the model's logits, while the model trains or afterwards.

    Jethani et al. 2022 (FastSHAP), equations 5 to 8, https://arxiv.org/abs/2107.07436: ``terms`` is

        ``d * mean over samples, coalitions S and classes of (v(S) - v(none) - sum of phi in S)^2``

    with coalitions from the Shapley kernel's size law in complementary pairs, and ``phi`` after additive normalisation
    (``phi_i + gap / m``, ``gap = v(all) - v(none) - sum phi``), so that values always add up, here and in
    ``attribute``. The gap is shared among the m players with a value that differs from the baseline; the others change
    nothing, and their values are 0 (the dummy axiom). Where none differs, v(all) is v(none). ``v(S)`` are the model's
    logits in eval mode, the other players at the baseline: the model is its own surrogate, which is fair when it was
    shown masked inputs, and otherwise what any baseline method sees. With ``average`` > 0 a running average of the
    model is the value function, which moves less.

    Its prediction of the model is ``log_softmax(v(none) + sum phi)`` before normalisation: what it knows without
    asking.

    Args:
        model: The model explained; logits (batch, classes).
        shape: Shape of one input, e.g. [30] or [1, 28, 28].
        classes: Number of classes.
        players: Who plays; None: every value.
        hidden: Widths of the hidden layers, if ``network`` is None.
        network: Maps inputs to (batch, players * classes), for example ``Squares``; None: a fully connected one.
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
    share: Tensor
    baseline: Tensor
    gap: Tensor
    error: Tensor

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
        # What a value gets of its player's worth: spread(), with nothing left to compute but a product.
        one_each = torch.ones(1, int(self.assignment.max()) + 1)
        self.register_buffer("share", spread(one_each, self.assignment)[0], persistent=False)
        self.players = one_each.shape[1]
        self.network = network
        size = prod(shape)
        if network is None:
            self.multiples = nn.Sequential(nn.Flatten(), fully_connected(size, hidden, size * classes))
        self.averaged = deepcopy(model).requires_grad_(False) if average else None
        self.register_buffer("baseline", as_baseline(baseline, torch.zeros(1, *shape)).clone())
        for name in ("gap", "error"):
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
        values = self._normalised(raw, whole - empty, self._moved(inputs))
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
            self._note((whole - empty - raw.detach().sum(dim=1)).abs().mean(), error.detach().sqrt())
        return {"shapley": self.weight * self.players * error}

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return Shapley values in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own.

        They add up to the change of the value function's logit between baseline and input.
        """
        if target is None and self.averaged is not None:
            target = predicted_class(self.model, inputs)
        with explaining(self) as keep_graph, torch.set_grad_enabled(keep_graph):
            clean = watched(inputs, keep_graph)
            whole = self._value(clean)
            return self._of_class(clean, whole, chosen_class(whole, target), self._value(self.baseline[None]))

    def deployed(self) -> nn.Module:
        """Return the values of a prediction already made, as a module; v(none) is asked for once, here.

        Without an average the logits are v(all), so nothing but the explainer's own network runs.
        """
        return Deployed(self, self._explain, empty=self._value(self.baseline[None]))

    def _explain(self, inputs: Tensor, logits: Tensor, explained: Tensor, empty: Tensor) -> Tensor:
        whole = logits if self.averaged is None else logits_of(self.averaged(inputs))
        return self._of_class(inputs, at_least_float32(whole), explained, empty)

    def _of_class(self, inputs: Tensor, whole: Tensor, explained: Tensor, empty: Tensor) -> Tensor:
        """Return one class's values, the only ones computed, in the inputs' shape."""
        total = (whole - empty).gather(1, explained[:, None])
        values = self._normalised(self._raw(inputs, explained), total, self._moved(inputs))[:, :, 0]
        return values.index_select(1, self.assignment.flatten()).reshape(inputs.shape) * self.share

    def _raw(self, inputs: Tensor, explained: Tensor | None = None) -> Tensor:
        """Return values (batch, players, classes) before normalisation; of a class (batch,) alone, (…, 1)."""
        network = self.multiples if self.network is None else self.network
        values = at_least_float32(network(inputs)).reshape(inputs.shape[0], -1, self.classes)
        if explained is not None:
            values = values.gather(2, explained[:, None, None].expand(-1, values.shape[1], 1))
        if self.network is not None:
            return values * self._moved(inputs)
        # An input that stands at the baseline changes nothing, so each is worth a multiple of its way from there.
        worth = (inputs - self.baseline.to(inputs.dtype)).flatten(1)[:, :, None] * values
        empty = worth.new_zeros(worth.shape[0], self.players, worth.shape[2])
        return empty.index_add(1, self.assignment.flatten(), worth)

    def _moved(self, inputs: Tensor) -> Tensor:
        """Return 1 for players with a value that differs from the baseline, else 0: (batch, players, 1)."""
        differs = (inputs != self.baseline.to(inputs.dtype)).flatten(1).to(self.share.dtype)
        # Not len(): an export would take its number for a constant.
        count = differs.new_zeros(inputs.shape[0], self.players).index_add(1, self.assignment.flatten(), differs)
        return (count > 0).to(differs.dtype)[:, :, None]

    @staticmethod
    def _normalised(raw: Tensor, total: Tensor, moved: Tensor) -> Tensor:
        gap = (total - raw.sum(dim=1))[:, None]
        return raw + moved * gap / moved.sum(dim=1, keepdim=True).clamp_min(1.0)

    def _value(self, inputs: Tensor) -> Tensor:
        """Return the value function's logits, without gradient."""
        source = self.model if self.averaged is None else self.averaged
        with explaining(source), torch.no_grad():
            logits = logits_of(source(inputs.detach().clone()))
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

    def _note(self, gap: Tensor, error: Tensor) -> None:
        for kept, new in ((self.gap, gap), (self.error, error)):
            kept.copy_(torch.where(kept.isnan(), new.to(kept), torch.lerp(kept, new.to(kept), WINDOW)))

    def describe(self) -> dict[str, float]:
        """Return running means over the latest batches, in logits; NaN before the first.

        ``efficiency_gap``: mean absolute ``v(all) - v(none) - sum phi`` before normalisation. ``coalition_error``:
        root mean square of the regression. How far it is behind a model that moves, a joint stage logs as ``lag``.
        """
        return {"efficiency_gap": float(self.gap), "coalition_error": float(self.error)}
