"""A rule tree that makes the student easier to write as rules."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from kdlab.data.preparation import Preparation
from kdlab.explainers.length_surrogate import LengthSurrogate
from kdlab.explainers.rule_tree import RuleTree
from kdlab.metrics.numerics import spearman
from kdlab.randomness import address

# How far copies are moved, in root mean squares of a tensor: nearer ones have much the student's own tree.
NEAREST, FARTHEST = 0.3, 1.0


class TreeRegularisation(RuleTree):
    """Rule tree whose mean path length is a penalty on the student: ``L(W) + lambda * Omega_hat(W)``.

    ``Omega(W)`` is the mean number of questions that the tree fitted to the student asks of a sample. It has no
    gradient, so a small network foretells it from the student's weights, ``Omega_hat(W)``, and the student descends on
    that (``LengthSurrogate``). Wu et al. 2018, "Tree Regularization for Deep Models",
    https://arxiv.org/abs/1711.06178.

    Each ``refit`` measures new pairs (weights, length): the student as it is, and ``copies`` of it moved by normal
    noise of 0.3 to 1 times the root mean square of each of its tensors, every move both ways, so that the surrogate has
    a slope to learn, where the paper adds random restarts. Some hundred pairs teach well which way is shorter, and
    badly how long the tree of any one copy is: ``path_length_rank`` of 0.3 is usual. Until the first ``refit`` there is
    no term.

    The slope holds near the pairs alone, and the next come an epoch later: take a small learning rate (0.003 with AdamW
    shortens trees where 0.01 runs away from what the surrogate knows, seen as a ``path_length_error`` above 1).

    It shapes the student, so Joint must have ``couple: true``; then the student is also drawn towards the tree by L_i
    and L_c, which shortens trees by itself: compare with a weight of 0. The penalty's weight in the objective is
    ``explain_weight * path_length_weight``, in units of the loss a question, so that a small ``explain_weight`` with a
    large ``path_length_weight`` is the paper's objective. Too much of it ends in a constant student.

    Costs ``copies + 1`` forwards of ``rows`` samples, as many trees, and ``surrogate_steps`` steps at each epoch's end.
    The surrogate's first layer has ``surrogate_hidden`` numbers for each weight of the student, and the pairs are saved
    with the explainer: meant for students of up to some 100,000 weights. Running statistics (BatchNorm) are no part of
    W; the copies keep the student's.

    Args:
        model, inputs, classes, min_samples_leaf, noise, seed, feature_names, class_names, preparation: As in RuleTree.
            ``seed`` is that of the copies too.
        max_depth: As in RuleTree; generous, because a tree at its limit says nothing about length.
        min_gain: As in RuleTree; so large that a length counts questions that tell something, where RuleTree's
            follows the student's curves down to the limit.
        path_length_weight: Weight of the foretold mean path length, >= 0.
        copies: Trees fitted to changed copies of the student at each ``refit``, >= 1.
        rows: Samples that they are fitted to, at most.
        pairs: Pairs that the surrogate keeps, the newest; more than ``copies``.
        surrogate_hidden: Width of the surrogate.
        surrogate_steps: Of its optimiser at each ``refit``.

    Raises:
        ValueError: If a size, a weight or the number of names is out of range.
    """

    foretold: Tensor

    def __init__(
        self,
        model: nn.Module,
        inputs: int,
        classes: int,
        max_depth: int = 8,
        min_samples_leaf: int = 5,
        min_gain: float = 1e-3,
        noise: float = 0.1,
        seed: int = 0,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        path_length_weight: float = 0.02,
        copies: int = 32,
        rows: int = 1000,
        pairs: int = 256,
        surrogate_hidden: int = 32,
        surrogate_steps: int = 200,
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__(
            model,
            inputs,
            classes,
            max_depth,
            min_samples_leaf,
            min_gain,
            noise,
            seed,
            feature_names,
            class_names,
            preparation,
        )
        if path_length_weight < 0 or min(copies, rows) < 1 or pairs <= copies:
            got = f"{path_length_weight}, {copies}, {rows} and {pairs}"
            raise ValueError(f"need path_length_weight >= 0, copies, rows >= 1 and pairs > copies, got {got}")
        self.path_length_weight, self.copies, self.rows = path_length_weight, copies, rows
        size = sum(weight.numel() for weight in model.parameters())
        self.surrogate = LengthSurrogate(
            size, surrogate_hidden, pairs, surrogate_steps, seed=address(seed, "surrogate")
        )
        # Of the last pairs before the surrogate knew them: root mean squared error in questions, rank correlation.
        self.register_buffer("foretold", torch.full((2,), torch.nan))

    def terms(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the student's foretold path length, weighted; nothing before the first ``refit``.

        Raises:
            TypeError: If the student's logits come without gradient, which is how an uncoupled stage gives them.
        """
        if torch.is_grad_enabled() and not logits.requires_grad:
            raise TypeError(
                "TreeRegularisation shapes the student, but this stage does not let gradients reach it; set "
                "couple: true at Joint, or take RuleTree, which leaves the student as it is"
            )
        if not self.surrogate.ready():
            return {}
        return {"path_length": self.path_length_weight * self.surrogate(self._weights())}

    def learn(self, inputs: Tensor, probabilities: Tensor) -> None:
        """Fit the tree, measure the lengths of changed copies, and fit the surrogate to them."""
        super().learn(inputs, probabilities)
        rows = inputs[: self.rows]
        vectors = torch.cat([self._weights().detach()[None], self._copies()])
        lengths = torch.tensor([self.path_length(rows, vector) for vector in vectors]).to(vectors)
        if self.surrogate.ready():
            self._compare(self.surrogate(vectors), lengths)
        self.surrogate.remember(vectors, lengths)
        self.surrogate.fit()

    def path_length(self, inputs: Tensor, vector: Tensor) -> float:
        """Return ``Omega``: the mean questions asked of inputs by a tree fitted to the model with these weights.

        Args:
            inputs: (samples, ...).
            vector: (weights,), the model's parameters in their order, flattened.
        """
        named, first = {}, 0
        for name, weight in self.model.named_parameters():
            named[name] = vector[first : first + weight.numel()].view_as(weight)
            first += weight.numel()
        with torch.no_grad():
            logits = self.answers_of(lambda part: functional_call(self.model, named, (part,)), inputs)
        tree = self.grown(inputs, self.softened(logits))
        # A sample is asked once by every inner node that it reaches.
        questions = tree.n_node_samples[tree.children_left >= 0].sum()
        return float(questions / tree.n_node_samples[0])

    def describe(self) -> dict[str, float]:
        """Return what RuleTree does, and how well the surrogate foretold the last pairs before it knew them."""
        error, rank = self.foretold.tolist()
        return super().describe() | {"path_length_error": error, "path_length_rank": rank}

    def _weights(self) -> Tensor:
        return parameters_to_vector(self.model.parameters())

    def _copies(self) -> Tensor:
        """Weight vectors (copies, weights) around the student's, in pairs on opposite sides of it."""
        generator = torch.Generator().manual_seed(address(self.seed, "copies", int(self.surrogate.seen)))
        here = self._weights().detach()
        scale = torch.cat([w.detach().square().mean().sqrt().expand(w.numel()) for w in self.model.parameters()])
        count = -(-self.copies // 2)
        # Sizes spread evenly in their logarithm.
        sizes = NEAREST * (FARTHEST / NEAREST) ** torch.rand(count, 1, generator=generator)
        moves = (sizes * torch.randn(count, len(here), generator=generator)).to(here) * scale
        return torch.cat([here + moves, here - moves])[: self.copies]

    def _compare(self, foretold: Tensor, lengths: Tensor) -> None:
        error = (foretold - lengths).square().mean().sqrt()
        self.foretold = torch.stack([error, spearman(foretold[None], lengths[None])[0]])
