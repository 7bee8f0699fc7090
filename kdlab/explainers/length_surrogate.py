"""A small network that foretells from a model's weights how long the paths of its tree are."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, mse_loss

# Coordinates whose spread over the pairs is below this share of the mean spread say nothing: they get no gradient.
IDLE = 1e-3


class LengthSurrogate(nn.Module):
    """``Omega_hat(W)``: mean path length, in questions, foretold from a flattened weight vector W.

    One hidden layer of tanh on standardised weights, fitted to pairs of weight vectors and measured lengths by the
    mean squared error with weight decay: ``min_xi sum_j (Omega(W_j) - Omega_hat(W_j; xi))^2 + epsilon ||xi||^2``. Wu et
    al. 2018, "Training the Surrogate Loss", https://arxiv.org/abs/1711.06178.

    Everything it knows is a buffer and none a parameter: no optimiser but its own may move it, and a checkpoint that
    holds pairs and network goes on bit for bit. It draws from no global generator.

    Args:
        weights: Length of a weight vector. The first layer has ``hidden`` and the pairs ``capacity`` times as many
            numbers, so that beyond some 100,000 weights saving and fitting take longer than training.
        hidden: Width of the hidden layer.
        capacity: Pairs kept; the oldest go first.
        steps: Of Adam at each ``fit``, each on all pairs.
        decay: epsilon, the L2 penalty, >= 0.
        seed: Of the first weights.

    Raises:
        ValueError: If a size is not positive, or the decay is negative.
    """

    vectors: Tensor
    lengths: Tensor
    seen: Tensor
    centre: Tensor
    factor: Tensor
    level: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor

    def __init__(
        self, weights: int, hidden: int = 32, capacity: int = 256, steps: int = 200, decay: float = 0.1, seed: int = 0
    ) -> None:
        super().__init__()
        if min(weights, hidden, capacity, steps) < 1 or decay < 0:
            got = (weights, hidden, capacity, steps, decay)
            raise ValueError(f"need weights, hidden, capacity, steps >= 1 and decay >= 0, got {got}")
        self.steps, self.decay = steps, decay
        self.register_buffer("vectors", torch.zeros(capacity, weights))
        self.register_buffer("lengths", torch.zeros(capacity))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("centre", torch.zeros(weights))
        self.register_buffer("factor", torch.zeros(weights))
        # Mean and spread of the lengths.
        self.register_buffer("level", torch.tensor([0.0, 1.0]))
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("inner", torch.randn(hidden, weights, generator=generator) / weights**0.5)
        self.register_buffer("inner_bias", torch.zeros(hidden))
        self.register_buffer("outer", torch.randn(1, hidden, generator=generator) / hidden**0.5)
        self.register_buffer("outer_bias", torch.zeros(1))

    def ready(self) -> bool:
        """Whether it has seen a pair; before, it foretells nothing."""
        return bool(self.seen > 0)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return lengths (...) of weight vectors (..., weights), with gradient by the vectors."""
        # The products of a lower precision would drown the small differences between weight vectors.
        with torch.autocast(vectors.device.type, enabled=False):
            parts = [self.inner, self.inner_bias, self.outer, self.outer_bias]
            return self.level[0] + self.level[1] * self._standard(vectors, parts)

    def _standard(self, vectors: Tensor, parts: list[Tensor]) -> Tensor:
        inner, inner_bias, outer, outer_bias = parts
        hidden = linear((vectors - self.centre) * self.factor, inner, inner_bias).tanh()
        return linear(hidden, outer, outer_bias).squeeze(-1)

    def remember(self, vectors: Tensor, lengths: Tensor) -> None:
        """Take in pairs: vectors (pairs, weights) and lengths (pairs,), at most ``capacity`` at once."""
        places = (self.seen + torch.arange(len(vectors), device=self.seen.device)) % len(self.vectors)
        self.vectors[places] = vectors.detach().to(self.vectors)
        self.lengths[places] = lengths.detach().to(self.lengths)
        self.seen += len(vectors)

    def fit(self) -> None:
        """Fit to the pairs remembered, going on from the weights it has."""
        filled = min(int(self.seen), len(self.vectors))
        vectors, lengths = self.vectors[:filled], self.lengths[:filled]
        spread = vectors.std(dim=0, correction=0)
        idle = spread <= IDLE * spread.mean()
        self.centre = vectors.mean(dim=0)
        self.factor = torch.where(idle, 0.0, 1 / spread.masked_fill(idle, 1.0))
        # Equal lengths have no spread to standardise by.
        deviation = lengths.std(correction=0)
        self.level = torch.stack([lengths.mean(), torch.where(deviation > 0, deviation, 1.0)])
        target = (lengths - self.level[0]) / self.level[1]
        with torch.enable_grad():
            parts = [
                part.clone().requires_grad_() for part in (self.inner, self.inner_bias, self.outer, self.outer_bias)
            ]
            optimizer = torch.optim.Adam(parts, lr=1e-2, weight_decay=self.decay)
            for _ in range(self.steps):
                optimizer.zero_grad()
                torch.autograd.backward(mse_loss(self._standard(vectors, parts), target))
                optimizer.step()
        self.inner, self.inner_bias, self.outer, self.outer_bias = (part.detach() for part in parts)
