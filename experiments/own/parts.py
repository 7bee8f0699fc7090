"""Classes of one's own: a data set, a model, a loss, a metric and an explainer, none of which imports kdlab.

``experiments/own.yaml`` names them by their class path, ``own.parts.Spirals`` and so on. A loss or a metric asks for
what it needs by the names of its parameters; ``kdlab list`` tells which names there are.
"""

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric


class Spirals(L.LightningDataModule):
    """Three noisy spirals in the plane: batches of (inputs, target), as in any Lightning project."""

    def __init__(self, batch_size: int = 64, noise: float = 0.15) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.noise = noise

    def setup(self, stage: str | None = None) -> None:
        """Draw the three splits; the points are the same in every run."""
        draw = torch.Generator().manual_seed(0)
        self.train, self.val, self.test = (self._points(count, draw) for count in (300, 300, 600))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return shuffled batches."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the validation points in order."""
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test points in order."""
        return DataLoader(self.test, self.batch_size)

    def _points(self, count: int, draw: torch.Generator) -> TensorDataset:
        target = torch.arange(count) % 3
        along = torch.rand(count, generator=draw)
        angle = 2 * torch.pi * (target / 3 + 1.25 * along) + self.noise * torch.randn(count, generator=draw)
        place = torch.stack((angle.cos(), angle.sin()), dim=1) * (0.2 + 1.8 * along[:, None])
        return TensorDataset(place, target)


class Maxout(nn.Module):
    """Each hidden unit is the largest of several linear functions."""

    def __init__(self, inputs: int, classes: int, units: int = 8, pieces: int = 3) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, units * pieces)
        self.head = nn.Linear(units, classes)
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        logits: Tensor = self.head(self.hidden(inputs).unflatten(1, (-1, self.pieces)).amax(dim=2))
        return logits


class FocalSoftTargets(nn.Module):
    """Soft targets that weigh a sample by how much the student disagrees with the teacher on it."""

    def __init__(self, gamma: float = 1.0, temperature: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        student = F.log_softmax(logits / self.temperature, dim=1)
        teacher = F.softmax(teacher_logits / self.temperature, dim=1)
        distance = (student.exp() - teacher).abs().sum(dim=1).detach() / 2
        divergence = F.kl_div(student, teacher, reduction="none").sum(dim=1)
        return self.temperature**2 * (distance**self.gamma * divergence).mean()


class WorstClassAccuracy(Metric):
    """Accuracy on the class that fares worst: [0, 1]."""

    higher_is_better = True

    right: Tensor
    count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(classes), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(classes), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the samples of each class, and those that are right."""
        self.count += torch.bincount(target, minlength=len(self.count))
        self.right += torch.bincount(target[logits.argmax(dim=1) == target], minlength=len(self.count))

    def compute(self) -> Tensor:
        """Return the lowest accuracy of a class that was seen."""
        return (self.right / self.count)[self.count > 0].min()


class Prototypes(nn.Module):
    """Explains a model by points: the nearer an input is to those of a class, the likelier the model says it."""

    multiplies_by_inputs = False
    differentiable = True

    def __init__(self, model: nn.Module, inputs: int, classes: int, each: int = 4) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(classes, each, inputs))
        self.sharpness = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return its prediction of the model, log-probabilities (batch, classes)."""
        distance = (inputs[:, None, None] - self.points).square().sum(dim=3)
        return torch.logsumexp(-self.sharpness.exp() * distance, dim=2).log_softmax(dim=1)

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return where each input would have to move to look more like the class explained."""
        with torch.inference_mode(False), torch.enable_grad():
            inputs = inputs.clone().requires_grad_()
            scores = self(inputs)
            explained = scores.argmax(dim=1) if target is None else target.clone()
            (slope,) = torch.autograd.grad(scores.gather(1, explained[:, None]).sum(), inputs)
        return slope

    def text(self) -> str:
        """Return the points of each class; they are kept in explainer.txt."""
        rows = [(number, point) for number, points in enumerate(self.points.tolist()) for point in points]
        return "".join(f"class {number}: {', '.join(f'{value:.2f}' for value in point)}\n" for number, point in rows)
