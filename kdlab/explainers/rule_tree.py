"""A scikit-learn tree of the student, fitted anew as the student moves, read as rules."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdlab.data.preparation import Preparation
from kdlab.explainers.base import Learned, chosen_class, explaining, flattened, pieces, predicted_class
from kdlab.explainers.reading import reading
from kdlab.explainers.tree_picture import Branch, as_figure, as_text, named
from kdlab.losses.gather import gathered
from kdlab.losses.numerics import at_least_float32
from kdlab.signals.outputs import logits_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.tree._tree import Tree

# Probabilities below this count as this, so that a divergence from the tree's leaves stays finite.
LEAST = 1e-6


class RuleTree(Learned):
    """Decision tree with one feature a question, refitted to the model's probabilities at each epoch's end.

    ``refit`` fits scikit-learn's regression tree to softmax(logits), which minimises ``sum over classes of (p -
    q)^2``: the objective's L_c, and each leaf holds the mean distribution of its samples. The fitted tree is kept as
    tensors in the state_dict and predicts without scikit-learn, the same leaf for the same input. It has no weights
    to train. Before the first ``refit`` it is one leaf with the uniform distribution.

    The attribution is the path's: each question's feature gets the change of the explained class's probability from
    the node to its answer (Saabas 2014); the sum is the leaf's probability minus the root's.

    Args:
        model: The model explained.
        inputs: Number of values in one flattened input.
        classes: Number of classes.
        max_depth: Questions on the longest path, >= 1.
        min_samples_leaf: Samples that a leaf has at least, >= 1.
        min_gain: What a question must at least take from the mean square of p - q, >= 0; 0 splits on rounding errors
            too.
        noise: For the fidelity on perturbed inputs in ``describe``: standard deviation of the noise in each
            feature's own.
        seed: Of that noise, and of the choice between equally good questions.
        feature_names: For the text and the picture; None: as the preparation calls them, else counted.
        class_names: Likewise.
        preparation: In whose units the text and the picture speak; None: the inputs' own.

    Raises:
        ValueError: If a size, or the number of names, is out of range.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = False

    feature: Tensor
    threshold: Tensor
    answers: Tensor
    value: Tensor
    scores: Tensor

    def __init__(
        self,
        model: nn.Module,
        inputs: int,
        classes: int,
        max_depth: int = 6,
        min_samples_leaf: int = 5,
        min_gain: float = 1e-5,
        noise: float = 0.1,
        seed: int = 0,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__(model)
        if min(inputs, classes, max_depth, min_samples_leaf) < 1 or min(min_gain, noise) < 0:
            got = (inputs, classes, max_depth, min_samples_leaf, min_gain, noise)
            raise ValueError(
                f"need inputs, classes, max_depth, min_samples_leaf >= 1 and min_gain, noise >= 0, got {got}"
            )
        self.inputs, self.max_depth, self.min_samples_leaf, self.min_gain = (
            inputs,
            max_depth,
            min_samples_leaf,
            min_gain,
        )
        self.noise, self.seed = noise, seed
        self.reading = reading(inputs, feature_names, preparation)
        self.class_names = named(class_names, classes, "class")
        # Samples that the model is asked for at once: as many as the largest batch of the last refit.
        self.at_once = 256
        # A leaf is its own child, so that walking on from it changes nothing.
        self.register_buffer("feature", torch.zeros(1, dtype=torch.long))
        self.register_buffer("threshold", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("answers", torch.zeros(1, 2, dtype=torch.long))
        self.register_buffer("value", torch.full((1, classes), 1 / classes))
        # Agreement with the model where fitted, there with noise, mean path length, whether the first question stayed.
        self.register_buffer("scores", torch.full((4,), torch.nan, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the log-probabilities (batch, classes) of each input's leaf; they have no gradient."""
        distribution = self.value[self.path(inputs)[:, -1]].clamp_min(LEAST)
        return (distribution / distribution.sum(dim=1, keepdim=True)).log()

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return changes of probability in the inputs' shape; ``target`` (batch,) is the class, None the top one."""
        explained = predicted_class(self.model, inputs) if target is None else target
        path = self.path(inputs)
        explained = chosen_class(self.value[path[:, -1]], explained)
        values = self.value[path].gather(2, explained[:, None, None].expand(-1, path.shape[1], 1))[:, :, 0]
        result = torch.zeros(len(inputs), self.inputs, device=inputs.device)
        # The steps below a leaf stay at the leaf, where nothing changes.
        result.scatter_add_(1, self.feature[path[:, :-1]], values.diff(dim=1))
        return result.reshape(inputs.shape).to(inputs.dtype)

    @torch.no_grad()
    def path(self, inputs: Tensor) -> Tensor:
        """Return the nodes (batch, depth + 1) that inputs pass, from the root 0; from a leaf on the leaf repeats."""
        # scikit-learn compares 32-bit values with 64-bit thresholds, and so does this.
        flat = flattened(inputs.detach(), self.inputs).float().double()
        node = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
        passed = [node]
        for _ in range(self._depth()):
            yes = flat.gather(1, self.feature[node][:, None])[:, 0] <= self.threshold[node]
            node = self.answers[node].gather(1, (~yes).long()[:, None])[:, 0]
            passed.append(node)
        return torch.stack(passed, dim=1)

    def refit(self, loader: Iterable[Mapping[str, Any]]) -> None:
        """Fit the tree to the model's probabilities on the ``inputs`` of all batches, those of all processes.

        Raises:
            ValueError: If there is no batch.
        """
        device = next((weight.device for weight in self.model.parameters()), self.value.device)
        samples, outputs = [], []
        with explaining(self.model), torch.no_grad():
            for batch in loader:
                inputs = batch["inputs"].to(device)
                samples.append(inputs.clone())
                outputs.append(self.softened(logits_of(self.model(inputs.clone()))))
                self.at_once = max(len(part) for part in samples)
            if not samples:
                raise ValueError("the loader gave no batch to fit the tree on")
            self.learn(*gathered(torch.cat(samples), torch.cat(outputs)))

    def answers_of(self, model: Callable[[Tensor], Any], inputs: Tensor) -> Tensor:
        """Return a model's logits (samples, classes), asked for no more samples at once than a batch had."""
        return torch.cat([logits_of(model(part)) for part in pieces(inputs, self.at_once)])

    @staticmethod
    def softened(logits: Tensor) -> Tensor:
        """Return what the tree is fitted to: probabilities, the shape of logits (batch, classes)."""
        return at_least_float32(logits).softmax(dim=1)

    def learn(self, inputs: Tensor, probabilities: Tensor) -> None:
        """Fit the tree to the model's probabilities (samples, classes) of inputs (samples, ...), and score it."""
        question = self.feature[0].item() if len(self.feature) > 1 else None
        self._keep(self.grown(inputs, probabilities))
        self._score(inputs, probabilities, question)

    def grown(self, inputs: Tensor, probabilities: Tensor) -> "Tree":
        """Return scikit-learn's tree of the probabilities (samples, classes) of inputs (samples, ...)."""
        # Here and not above, because the tree is needed at an epoch's end alone, and scikit-learn loads slowly.
        from sklearn.tree import DecisionTreeRegressor

        fitted = DecisionTreeRegressor(
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            min_impurity_decrease=self.min_gain,
            random_state=self.seed,
        ).fit(flattened(inputs, self.inputs).float().cpu().numpy(), probabilities.double().cpu().numpy())
        return fitted.tree_

    def _keep(self, tree: "Tree") -> None:
        device = self.value.device
        leaf = torch.tensor(tree.children_left) < 0
        itself = torch.arange(tree.node_count)
        sides = [torch.where(leaf, itself, torch.tensor(side)) for side in (tree.children_left, tree.children_right)]
        self.feature = torch.where(leaf, 0, torch.tensor(tree.feature)).to(device)
        self.threshold = torch.tensor(tree.threshold, dtype=torch.float64, device=device)
        self.answers = torch.stack(sides, dim=1).to(device)
        self.value = torch.tensor(tree.value[:, :, 0], dtype=torch.float32, device=device)

    def _score(self, inputs: Tensor, probabilities: Tensor, question: float | None) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(inputs.shape, generator=generator).to(inputs)
        perturbed = inputs + self.noise * inputs.std(dim=0, correction=0) * noise
        agrees = (self(inputs).argmax(dim=1) == probabilities.argmax(dim=1)).double().mean()
        said = self.answers_of(self.model, perturbed).argmax(dim=1)
        agrees_perturbed = (self(perturbed).argmax(dim=1) == said).double().mean()
        length = (self.path(inputs).diff(dim=1) != 0).sum(dim=1).double().mean()
        same = float(question == self.feature[0].item()) if question is not None else torch.nan
        self.scores = torch.tensor(
            [agrees, agrees_perturbed, length, same], dtype=torch.float64, device=self.value.device
        )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *further: Any) -> None:  # noqa: ANN401
        """Make room for a tree of another size before loading; ``further`` is torch's own business."""
        for name in ("feature", "threshold", "answers", "value"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                here: Tensor = getattr(self, name)
                setattr(self, name, here.new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *further)

    def _depth(self) -> int:
        return 0 if len(self.feature) == 1 else min(self.max_depth, len(self.feature) // 2)

    def describe(self) -> dict[str, float]:
        """Return the tree's size, and its fidelity where it was fitted; NaN before the first ``refit``."""
        names = ("agreement_fitted", "agreement_perturbed", "mean_path_length", "first_question_kept")
        scores = dict(zip(names, self.scores.tolist(), strict=True))
        leaves = (self.answers[:, 0] == torch.arange(len(self.answers), device=self.answers.device)).sum()
        return {"depth": float(self._height(0)), "leaves": float(leaves), **scores}

    def text(self) -> str:
        """Return the rules as nested questions in the columns' own units.

        Who answers them from the raw columns ends in the tree's leaf, for every value written with the column's
        decimals (``Preparation.at_most``).
        """
        return as_text(self._branch(0))

    def figure(self) -> "Figure":
        """Draw the rules from the top down."""
        root = self._branch(0)
        return as_figure(root, f"rules: depth {root.depth()}, {root.leaves()} leaves")

    def _height(self, node: int) -> int:
        yes, no = self.answers[node].tolist()
        return 0 if yes == node else 1 + max(self._height(yes), self._height(no))

    def _branch(self, node: int) -> Branch:
        yes, no = self.answers[node].tolist()
        if yes == node:
            share = float(self.value[node].max())
            return Branch(f"{self.class_names[int(self.value[node].argmax())]} ({share:.0%})")
        column, threshold = int(self.feature[node]), float(self.threshold[node])
        name = self.reading.name(column)
        if self.reading.is_level(column) and 0 <= threshold < 1:
            return Branch(name, no=self._branch(yes), yes=self._branch(no))
        return Branch(f"{name} <= {self.reading.at_most(column, threshold)}", self._branch(no), self._branch(yes))
