"""A network that chooses the few inputs from which the model's answer can be told."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import kl_div, log_softmax

from kdlab.explainers.base import Learned, chosen_class, explaining, predicted_class, watched
from kdlab.explainers.baseline import as_baseline
from kdlab.explainers.deployed import Deployed
from kdlab.explainers.networks import fully_connected
from kdlab.explainers.players import Features, Players, reveal, spread

# A window of about 50 batches for what describe() tells.
WINDOW = 0.02


class Reader(nn.Module):
    """Predicts the model's answer from an input of which only some players are shown; it is told which."""

    def __init__(self, size: int, players: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        self.network = fully_connected(size + players, hidden, classes)

    def forward(self, revealed: Tensor, shown: Tensor) -> Tensor:
        """Return log-probabilities (batch, classes) from inputs (batch, ...) and shown players (batch, players)."""
        return log_softmax(self.network(torch.cat([revealed.flatten(1), shown.to(revealed.dtype)], dim=1)), dim=1)


class Selector(Learned):
    """Chooses a fixed number of players a sample, so that a reader can tell the model's distribution from them alone.

    The choice is relaxed as the element-wise largest of k Gumbel-softmax draws while training and the k best scores
    otherwise (Chen et al. 2018, L2X, section 3.3, https://arxiv.org/abs/1802.07814). If the reader learned from
    chosen inputs, the choice itself could tell it the answer. So the reader learns from players shown at random,
    each with probability 1/2, and the selector learns against a reader held still (Jethani et al. 2021, REAL-X,
    section 4, https://arxiv.org/abs/2103.01890). ``encoding: true`` gives L2X's reader that learns from the choice.
    A judge of its own, EVAL-X (section 5 there), learns at random in either case and never touches the selector:
    ``describe`` tells both readers' divergence on the chosen players, and a selector that its own reader likes much
    better than the judge does is encoding, not explaining.

    ``forward`` is the reader's prediction from the chosen players, with a gradient to the selector alone: trained by
    the objective's L_i, it is the selector's loss. ``terms`` are the readers' losses. Attributions are the selector's
    probabilities (they sum to 1 over players), the same for every class.

    Args:
        model: The model explained; logits (batch, classes).
        shape: Shape of one input, e.g. [30] or [1, 28, 28].
        classes: Number of classes.
        chosen: Players shown, k, 1 to the number of players.
        players: Who can be chosen; None: every value.
        hidden: Widths of the hidden layers of selector and readers.
        temperature: Of the Gumbel-softmax, > 0.
        encoding: Whether the reader learns from the choice.
        baseline: What stands for absence until the data's own is handed in: a number, or values of one input.

    Raises:
        ValueError: If a size or the temperature is out of range.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    assignment: Tensor
    baseline: Tensor
    divergence: Tensor

    def __init__(
        self,
        model: nn.Module,
        shape: Sequence[int],
        classes: int,
        chosen: int,
        players: Players | None = None,
        hidden: Sequence[int] = (100, 100),
        temperature: float = 0.5,
        encoding: bool = False,
        baseline: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(model)
        self.register_buffer("assignment", (players or Features()).assignment(shape), persistent=False)
        self.players = int(self.assignment.max()) + 1
        if not 1 <= chosen <= self.players or temperature <= 0:
            raise ValueError(
                f"need chosen from 1 to {self.players} players and temperature > 0, got {chosen} and {temperature}"
            )
        self.classes, self.chosen, self.temperature, self.encoding = classes, chosen, temperature, encoding
        self.selector = nn.Sequential(nn.Flatten(), fully_connected(prod(shape), hidden, self.players))
        self.reader = Reader(prod(shape), self.players, hidden, classes)
        self.judge = Reader(prod(shape), self.players, hidden, classes)
        self.register_buffer("baseline", as_baseline(baseline, torch.zeros(1, *shape)).clone())
        self.register_buffer("divergence", torch.full((2,), torch.nan))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the reader's log-probabilities (batch, classes) from the chosen players."""
        scores = self.selector(inputs)
        # In eval mode the gradient is that of the probabilities, while the value is the hard choice.
        soft = scores.softmax(dim=1)
        shown = self._relaxed(scores) if self.training else self.best(scores).to(scores.dtype) + (soft - soft.detach())
        still = {name: weight.detach() for name, weight in self.reader.named_parameters()}
        predicted: Tensor = functional_call(self.reader, still, (self._reveal(inputs, shown), shown))
        return predicted

    def terms(self, inputs: Tensor, logits: Tensor, baseline: Tensor | None = None) -> dict[str, Tensor]:
        """Return the losses of reader and judge, divergences from the model; a baseline is kept for later."""
        if baseline is not None:
            self.baseline.copy_(baseline.expand_as(self.baseline))
        with torch.no_grad():
            choice = self.best(self.selector(inputs)).to(inputs.dtype)
        random_players = (torch.rand(len(inputs), self.players, device=inputs.device) < 0.5).to(inputs.dtype)
        model = log_softmax(logits.detach(), dim=1)
        reader = self._divergence(self.reader, inputs, choice if self.encoding else random_players, model)
        judge = self._divergence(self.judge, inputs, random_players, model)
        if self.training:
            with torch.no_grad():
                both = [self._divergence(network, inputs, choice, model) for network in (self.reader, self.judge)]
            new, kept = torch.stack(both).to(self.divergence), self.divergence
            kept.copy_(torch.where(kept.isnan(), new, torch.lerp(kept, new, WINDOW)))
        return {"reader": reader, "judge": judge}

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the selector's probabilities in the inputs' shape; the class changes nothing, but has to exist."""
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self) as keep_graph, torch.set_grad_enabled(keep_graph):
            clean = watched(inputs, keep_graph)
            chosen_class(clean.new_empty(len(inputs), self.classes), explained)
            return self._probabilities(clean)

    def deployed(self) -> nn.Module:
        """Return the selector's probabilities for a prediction already made, as a module."""
        return Deployed(self, self._explain)

    def _explain(self, inputs: Tensor, logits: Tensor, explained: Tensor) -> Tensor:
        return self._probabilities(inputs)

    def _probabilities(self, inputs: Tensor) -> Tensor:
        return spread(self.selector(inputs).softmax(dim=1), self.assignment)

    @torch.no_grad()
    def choose(self, inputs: Tensor) -> Tensor:
        """Return the chosen players, bool (batch, players)."""
        return self.best(self.selector(inputs))

    def best(self, scores: Tensor) -> Tensor:
        """Return the players with the highest scores (batch, players), bool; of equals the first."""
        order = scores.detach().argsort(dim=1, descending=True, stable=True)[:, : self.chosen]
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)

    def _relaxed(self, scores: Tensor) -> Tensor:
        uniform = torch.rand(self.chosen, *scores.shape, device=scores.device).clamp(1e-7, 1 - 1e-7)
        draws = ((scores - (-uniform.log()).log()) / self.temperature).softmax(dim=2)
        return draws.amax(dim=0)

    def _reveal(self, inputs: Tensor, shown: Tensor) -> Tensor:
        return reveal(inputs, self.baseline.to(inputs.dtype), shown[:, None], self.assignment)

    def _divergence(self, reader: nn.Module, inputs: Tensor, shown: Tensor, model: Tensor) -> Tensor:
        return kl_div(reader(self._reveal(inputs, shown), shown), model, log_target=True, reduction="batchmean")

    def describe(self) -> dict[str, float]:
        """Return the divergence of reader and judge on the chosen players, in nats, running means.

        NaN before the first batch.
        ``encoding`` is the judge's minus the reader's: near 0 for a choice that explains.
        """
        reader, judge = self.divergence.tolist()
        return {"reader_kl": reader, "judge_kl": judge, "encoding": judge - reader}
