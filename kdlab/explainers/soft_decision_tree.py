"""A decision tree that is trained like a network and read like a tree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, logsigmoid

from kdlab.data.preparation import Preparation
from kdlab.explainers.base import Learned, flattened
from kdlab.explainers.hard_tree import HardTree, most_likely_path
from kdlab.explainers.reading import reading
from kdlab.explainers.tree_picture import as_figure, as_text, named
from kdlab.explainers.writing import agreement, written
from kdlab.explainers.written_tree import WrittenTree
from kdlab.losses.numerics import at_least_float32

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SoftDecisionTree(Learned):
    """Full binary tree of linear gates that learns the model's distribution.

    Gate i answers yes with probability ``p_i(x) = sigmoid(s (w_i . x + b_i))``; the probability ``P_l(x)`` of a leaf
    is the product of the answers on its path, and the prediction the mixture ``sum_l P_l(x) softmax(phi_l)``, all in
    logarithms, so that no leaf underflows. Frosst & Hinton 2017, https://arxiv.org/abs/1711.09784, section 2.

    ``terms`` adds two losses of its own.

    - ``path_penalty``: ``-lambda sum_i 2^-depth(i) (ln a_i + ln (1 - a_i)) / 2`` with ``a_i`` the share of its
      samples that node i answers yes, keeps both answers in use (section 2.1 there). The share is a running average,
      whose window doubles with each level and which is saved with the weights; its gradient is the batch's.
    - ``path_loss``: ``weight * sum_l P_l(x) KL(p_model || softmax(phi_l))``, mean over the batch: the paper's own loss
      (equation 2, as its words and code mean it). It makes each leaf answer for its samples alone, which is what
      keeps the hardened tree close to the soft one.

    The attribution is the slope of the tree's log-probability of the class explained: each gate that a sample may
    pass gives its weights, by how much turning there would change the class.

    See ``path`` and ``harden`` for the tree of most likely turns, whose questions have a weight for every input. What a
    person reads is shorter (``write``), speaks in the columns' own units, and says in its first line how often it
    agrees with the tree.

    Args:
        model: The model explained.
        inputs: Number of values in one flattened input.
        classes: Number of classes.
        depth: Gates on each path; the tree has 2^depth leaves.
        path_penalty: lambda, >= 0.
        path_loss: Weight of the paper's leaf-wise loss beside the mixture's, >= 0.
        sharpness: s, the gates' inverse temperature, > 0; larger makes answers more decided.
        feature_names: For the text and the picture; None: as the preparation calls them, else counted.
        class_names: Likewise.
        preparation: In whose units the text and the picture speak; None: the inputs' own.

    Raises:
        ValueError: If a size, weight or number of names is out of range.
    """

    share: Tensor
    reached: Tensor
    level: Tensor

    def __init__(
        self,
        model: nn.Module,
        inputs: int,
        classes: int,
        depth: int = 5,
        path_penalty: float = 0.1,
        path_loss: float = 1.0,
        sharpness: float = 1.0,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__(model)
        if inputs < 1 or classes < 1 or not 1 <= depth <= 12:
            raise ValueError(f"need inputs, classes >= 1 and depth 1 to 12, got {inputs}, {classes} and {depth}")
        if path_penalty < 0 or path_loss < 0 or sharpness <= 0:
            raise ValueError(f"need weights >= 0 and sharpness > 0, got {path_penalty}, {path_loss} and {sharpness}")
        self.inputs, self.depth, self.sharpness = inputs, depth, sharpness
        self.path_penalty, self.path_loss = path_penalty, path_loss
        self.reading = reading(inputs, feature_names, preparation)
        self.class_names = named(class_names, classes, "class")
        # What a person reads, and how often it agrees; it is made for weights that move no more.
        self.short: tuple[WrittenTree, str] | None = None
        self.gates = nn.Linear(inputs, 2**depth - 1)
        self.leaves = nn.Parameter(torch.randn(2**depth, classes))
        level = torch.cat([torch.full((2**here,), here) for here in range(depth)])
        self.register_buffer("level", level, persistent=False)
        # Running means of P_i p_i and of P_i over all samples; they start as an undecided tree's.
        self.register_buffer("reached", 0.5**level)
        self.register_buffer("share", 0.5 * 0.5**level)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predicted log-probabilities (batch, classes) of the model."""
        path = self._log_paths(inputs)[-1]
        return torch.logsumexp(path[:, :, None] + log_softmax(self.leaves, dim=1), dim=1)

    def terms(self, inputs: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Return the path penalty and the leaf-wise loss; the model's logits are taken as they are, never trained."""
        levels = self._log_paths(inputs)
        reached = torch.cat(levels[:-1], dim=1).exp().mean(dim=0)
        # The yes answers of a level are every second node of the next.
        share = torch.cat([level[:, 1::2] for level in levels[1:]], dim=1).exp().mean(dim=0)
        model_log = log_softmax(at_least_float32(logits.detach()), dim=1)
        model, leaves = model_log.exp(), log_softmax(self.leaves, dim=1)
        divergence = (model * model_log).sum(dim=1, keepdim=True) - model @ leaves.T
        by_leaf = (levels[-1].exp() * divergence).sum(dim=1).mean()
        return {"path_penalty": self._penalty(share, reached), "path_loss": self.path_loss * by_leaf}

    def _penalty(self, share: Tensor, reached: Tensor) -> Tensor:
        window = 0.5**self.level * 0.1
        running_share = torch.lerp(self.share, share.detach().to(self.share), window)
        running_reached = torch.lerp(self.reached, reached.detach().to(self.reached), window)
        if self.training:
            self.share.copy_(running_share)
            self.reached.copy_(running_reached)
        tiny = torch.finfo(share.dtype).tiny ** 0.5
        # Value of the running average, gradient of the batch.
        numerator = running_share + share - share.detach()
        answer = (numerator / (running_reached + reached - reached.detach()).clamp_min(tiny)).clamp(1e-4, 1 - 1e-4)
        return -self.path_penalty * (0.5**self.level * 0.5 * (answer.log() + (-answer).log1p())).sum()

    def _gate_logits(self, inputs: Tensor) -> Tensor:
        return linear(flattened(inputs, self.inputs), self.gates.weight, self.gates.bias)

    def _log_paths(self, inputs: Tensor) -> list[Tensor]:
        """Return for each level, the leaves' too, the log-probability (batch, 2^level) of coming there."""
        gates = self.sharpness * at_least_float32(self._gate_logits(inputs))
        levels = [gates.new_zeros(len(gates), 1)]
        for here in range(self.depth):
            gate = gates[:, 2**here - 1 : 2 ** (here + 1) - 1]
            step = torch.stack([logsigmoid(-gate), logsigmoid(gate)], dim=2)
            levels.append((levels[-1][:, :, None] + step).flatten(1))
        return levels

    @torch.no_grad()
    def path(self, inputs: Tensor) -> Tensor:
        """Return the nodes (batch, depth + 1) of each sample's most likely turns: 0 first, 2i + 1 or 2i + 2 after i."""
        return most_likely_path(self._gate_logits(inputs), self.depth)

    @torch.no_grad()
    def decide(self, inputs: Tensor) -> Tensor:
        """Return the class (batch,) of the leaf at the end of each sample's most likely turns."""
        return self.leaves.argmax(dim=1)[self.path(inputs)[:, -1] - len(self.level)]

    @torch.no_grad()
    def harden(self) -> HardTree:
        """Return the tree of the most likely turns; it predicts exactly what ``decide`` does."""
        weight, bias = self.gates.weight.clone(), self.gates.bias.clone()
        leaf_class = self.leaves.argmax(dim=1)
        return HardTree(weight, bias, leaf_class, self.depth, self.reading, self.class_names)

    def describe(self) -> dict[str, float]:
        """Return depth and leaves of the hardened tree, and the least share of samples that a node sends either way."""
        root = self.harden().in_full().branches()
        answer = self.share / self.reached
        return {
            "depth": float(root.depth()),
            "leaves": float(root.leaves()),
            "least_used_answer": float(torch.minimum(answer, 1 - answer).min()),
        }

    @torch.no_grad()
    def write(self, samples: Mapping[str, Tensor]) -> None:
        """Put the tree into few words; ``text`` and ``figure`` show that from now on.

        Each question of the hardened tree keeps the fewest features, 12 at most, with which the text's classes agree
        with the tree's own predictions on 95 % of the first samples (``kdlab.explainers.writing``). On each kind of
        samples the agreement is measured with the very numbers that the text prints.

        Args:
            samples: Inputs (batch, ...) by what they are called; those it is written for first.
        """
        device, shape = self.leaves.device, self.reading.mean.shape
        agreements: list[str] = []
        tree = None
        for name, inputs in samples.items():
            decided = self(inputs.to(device)).argmax(dim=1)
            flat = flattened(inputs.to(device), self.inputs)
            tree = tree or written(self.harden(), flat, decided)
            own = self.reading.undone(flat.reshape(-1, *shape)).flatten(1)
            agreements.append(f"{agreement(tree, decided, own):.1%} of {len(inputs)} {name} samples")
        if tree is not None:
            self.short = tree, f"agrees with the tree on {' and '.join(agreements)}"

    def text(self) -> str:
        """Return the tree as nested questions, below a line that says how often they lead to the tree's class."""
        tree, said = self._readable()
        return f"# {said}\n{as_text(tree.branches())}"

    def figure(self) -> "Figure":
        """Draw what ``text`` says."""
        tree, said = self._readable()
        root = tree.branches()
        return as_figure(root, f"decision tree: depth {root.depth()}, {root.leaves()} leaves; {said}")

    def _readable(self) -> tuple[WrittenTree, str]:
        return self.short or (self.harden().in_full(), "every question in full, as the tree's most likely turns decide")
