"""One small net a feature: a model whose parts can be drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, log_softmax

from kdlab.explainers.base import Learned, chosen_class, explaining, flattened, predicted_class, watched
from kdlab.explainers.tree_picture import named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A window of about 50 batches for what is drawn and ranked.
WINDOW = 0.02
DRAWN = 12


class GroupedNet(nn.Module):
    """Many small nets of one size as three batched products: (batch, nets, inputs) to (batch, nets, outputs)."""

    def __init__(self, nets: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        sizes = [(inputs, hidden), (hidden, hidden), (hidden, outputs)]
        self.weights = nn.ParameterList(torch.randn(nets, *size) / size[0] ** 0.5 for size in sizes)
        # Bends spread over the inputs' usual range, or all nets would start out alike around 0.
        bends = 4 * torch.rand(nets, hidden) - 2
        self.biases = nn.ParameterList([bends, torch.zeros(nets, hidden), torch.zeros(nets, outputs)])

    def forward(self, values: Tensor) -> Tensor:
        """Return each net's outputs."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.einsum("bni,nio->bno", gelu(values) if layer else values, weight) + bias
        return values


class AdditiveNetwork(Learned):
    """Sum of one small net a feature, and one a chosen pair, that learns the model's distribution.

    ``log q = log_softmax(bias + sum_i f_i(x_i) + sum_ij f_ij(x_i, x_j))``. Agarwal et al. 2021, section 2,
    https://arxiv.org/abs/2004.13912. ``terms`` adds the paper's output penalty (section 2.2), the mean square of
    what the nets say, which keeps unneeded ones quiet.

    The attribution is the feature's own part for the class explained, minus its mean over the samples seen lately
    and over classes (adding the same to each class changes nothing); half of a pair's goes to each of its features.
    The sum is how much more the sample speaks for the class than the average one.

    Args:
        model: The model explained.
        inputs: Number of values in one flattened input.
        classes: Number of classes.
        hidden: Width of the two hidden layers of each net.
        pairs: Features that may interact, as pairs of numbers.
        penalty: Weight of the output penalty, >= 0.
        feature_names: For the text and the picture; None counts them.
        class_names: Likewise.

    Raises:
        ValueError: If a size or weight is out of range, or a pair names a feature that there is not.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    mean: Tensor
    strength: Tensor
    lowest: Tensor
    highest: Tensor
    pair_features: Tensor

    def __init__(
        self,
        model: nn.Module,
        inputs: int,
        classes: int,
        hidden: int = 24,
        pairs: Sequence[tuple[int, int]] = (),
        penalty: float = 1e-3,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(model)
        if min(inputs, classes, hidden) < 1 or penalty < 0:
            raise ValueError(
                f"need inputs, classes, hidden >= 1 and penalty >= 0, got {(inputs, classes, hidden, penalty)}"
            )
        for one, other in pairs:
            if one == other or not (0 <= one < inputs and 0 <= other < inputs):
                raise ValueError(f"pair {(one, other)} must name two of the {inputs} features, from 0")
        self.inputs, self.penalty = inputs, penalty
        self.feature_names = named(feature_names, inputs, "feature")
        self.class_names = named(class_names, classes, "class")
        self.bias = nn.Parameter(torch.zeros(classes))
        self.singles = GroupedNet(inputs, 1, hidden, classes)
        self.couples = GroupedNet(len(pairs), 2, hidden, classes)
        self.register_buffer("pair_features", torch.tensor(list(pairs)).reshape(-1, 2).long(), persistent=False)
        parts = inputs + len(pairs)
        self.register_buffer("mean", torch.zeros(parts, classes))
        self.register_buffer("strength", torch.zeros(parts))
        self.register_buffer("lowest", torch.full((inputs,), torch.inf))
        self.register_buffer("highest", torch.full((inputs,), -torch.inf))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predicted log-probabilities (batch, classes) of the model."""
        return log_softmax(self.bias + self.parts(flattened(inputs, self.inputs)).sum(dim=1), dim=1)

    def parts(self, flat: Tensor) -> Tensor:
        """Return what each feature, then each pair, says for each class: (batch, features + pairs, classes)."""
        pairs = flat[:, self.pair_features]
        return torch.cat([self.singles(flat[:, :, None]), self.couples(pairs)], dim=1)

    def terms(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output penalty, and keep track of means and ranges while training."""
        flat = flattened(inputs, self.inputs)
        parts = self.parts(flat)
        if self.training:
            self._note(flat.detach(), parts.detach())
        return {"output_penalty": self.penalty * parts.square().mean()}

    def _note(self, flat: Tensor, parts: Tensor) -> None:
        window = WINDOW if bool(self.lowest.isfinite().all()) else 1.0
        self.mean.lerp_(parts.mean(dim=0).to(self.mean), window)
        self.strength.lerp_((self._centred(parts).abs().mean(dim=(0, 2))).to(self.strength), window)
        torch.minimum(self.lowest, flat.amin(dim=0).to(self.lowest), out=self.lowest)
        torch.maximum(self.highest, flat.amax(dim=0).to(self.highest), out=self.highest)

    def _centred(self, parts: Tensor) -> Tensor:
        centred = parts - self.mean
        return centred - centred.mean(dim=2, keepdim=True)

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return parts in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own."""
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self) as keep_graph, torch.set_grad_enabled(keep_graph):
            flat = flattened(watched(inputs, keep_graph), self.inputs)
            parts = self._centred(self.parts(flat))
            explained = chosen_class(parts[:, 0], explained)
            parts = parts.gather(2, explained[:, None, None].expand(-1, parts.shape[1], 1))[:, :, 0]
            own, shared = parts[:, : self.inputs], parts[:, self.inputs :] / 2
            for side in (0, 1):
                own = own.index_add(1, self.pair_features[:, side], shared)
            return own.reshape(inputs.shape)

    def ranking(self) -> list[tuple[str, float]]:
        """Return features and pairs by their mean absolute part, strongest first."""
        names = self.feature_names + [
            f"{self.feature_names[one]} & {self.feature_names[other]}" for one, other in self.pair_features.tolist()
        ]
        order = self.strength.argsort(descending=True, stable=True).tolist()
        return [(names[part], float(self.strength[part])) for part in order]

    def describe(self) -> dict[str, float]:
        """Return how many parts make up 90 % of the strength, and the pairs' share of it."""
        strength = self.strength.sort(descending=True).values
        total = strength.sum()
        needed = int((strength.cumsum(0) < 0.9 * total).sum()) + 1 if float(total) > 0 else 0
        pairs = float(self.strength[self.inputs :].sum() / total) if float(total) > 0 else 0.0
        return {"parts_for_90_percent": float(needed), "share_of_pairs": pairs}

    def text(self) -> str:
        """Return the ranking, one part a line."""
        return "".join(f"{strength:.4g}  {name}\n" for name, strength in self.ranking())

    @torch.no_grad()
    def figure(self) -> "Figure":
        """Draw what the strongest features say for each class over their range."""
        from matplotlib.figure import Figure

        chosen = self.strength[: self.inputs].argsort(descending=True, stable=True)[:DRAWN].tolist()
        columns = min(4, len(chosen))
        rows = -(-len(chosen) // columns)
        figure = Figure(figsize=(3 * columns, 2.2 * rows + 0.6), layout="constrained")
        seen = self.lowest.isfinite()
        grid = torch.linspace(0, 1, 100, device=self.lowest.device)[:, None]
        values = torch.where(seen, self.lowest + grid * (self.highest - self.lowest), 2 * grid - 1)
        curves = self._centred(self.parts(values))
        for place, feature in enumerate(chosen):
            axes = figure.add_subplot(rows, columns, place + 1)
            for number, name in enumerate(self.class_names):
                axes.plot(values[:, feature].cpu(), curves[:, feature, number].cpu(), label=name, linewidth=1)
            axes.set_title(self.feature_names[feature], fontsize=8, parse_math=False)
            axes.tick_params(labelsize=6)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=8, fontsize=6)
        return figure
