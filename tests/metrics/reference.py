"""What the keys of the reference data name: models, explainers, inputs, options."""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdlab.metrics.faithfulness_correlation import faithfulness_correlation
from kdlab.metrics.infidelity import infidelity
from kdlab.metrics.masking import masked_scores
from kdlab.metrics.numerics import spearman
from kdlab.metrics.removal import removal_curve
from kdlab.metrics.scorer import Scorer

FOLDER = Path(__file__).parents[1] / "reference"
ENTRIES = json.loads((FOLDER / "xai_metrics.json").read_text())["entries"]
ARRAYS = np.load(FOLDER / "xai_metrics.npz")


def array(key: str) -> Tensor:
    return torch.from_numpy(ARRAYS[key])


@cache
def network(name: str) -> nn.Module:
    """Return the network of alternating linear layers and ReLU whose weights are stored under the name."""
    layers: list[nn.Module] = []
    for number in range(1, 1 + sum(key.startswith(f"model/{name}.W") for key in ENTRIES)):
        weight = array(f"model/{name}.W{number}")
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        layer.load_state_dict({"weight": weight, "bias": array(f"model/{name}.b{number}")})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Gradient:
    multiplies_by_inputs = False

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        with torch.enable_grad():
            points = inputs.clone().requires_grad_()
            chosen = self.model(points).gather(1, target.unsqueeze(1)).sum()
            return torch.autograd.grad(chosen, points)[0]


class GradientTimesInput(Gradient):
    multiplies_by_inputs = True

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        return super().__call__(inputs, target) * inputs


class IntegratedGradients(Gradient):
    """From 0, by Gauss and Legendre's 50 points."""

    multiplies_by_inputs = True

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        points, weights = np.polynomial.legendre.leggauss(50)
        total = torch.zeros_like(inputs)
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            total += weight * super().__call__(point * inputs, target)
        return total * inputs


EXPLAINERS = {"gradient": Gradient, "gradxinput": GradientTimesInput, "ig": IntegratedGradients}


class Case:
    """What a key names: the model, its inputs, the attribution, and the options that follow."""

    def __init__(self, key: str) -> None:
        self.parts = key.split("/")
        self.model_name = self.parts[2]
        self.model = network(self.model_name)
        self.inputs, self.explained = array(f"x/{self.model_name}"), array(f"y/{self.model_name}")
        self.name = self.parts[3] if len(self.parts) > 3 else ""
        self.attributions = array(f"attr/{self.model_name}/{self.name}") if self.name else torch.empty(0)
        self.attribute = EXPLAINERS[self.name](self.model) if self.name in EXPLAINERS else Gradient(self.model)
        lowest = self.inputs.flatten(1).amin(dim=1).view(-1, *[1] * (self.inputs.dim() - 1))
        self.baseline = lowest if "xmin" in self.parts else torch.zeros(self.inputs.shape[1:], dtype=self.inputs.dtype)
        self.on_logits = "softmax" not in self.parts
        unknown = [
            part for part in self.parts[4:] if not re.fullmatch(r"lib|ref64|softmax|logit|xmin|zero|step\d+", part)
        ]
        assert not unknown, f"{key} has options that nothing here knows: {unknown}"
        steps = [part for part in self.parts if re.fullmatch(r"step\d+", part)]
        self.units_per_step = int(steps[0][4:]) if steps else 1

    def signals(self) -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
        return self.model, self.inputs, self.attributions, self.explained, self.baseline

    def curve(self, insert: bool = False) -> Tensor:
        return removal_curve(
            *self.signals(), units_per_step=self.units_per_step, on_logits=self.on_logits, insert=insert
        )

    def percentage(self) -> int:
        """Return the number before the first % of the entry's definition."""
        return int(re.findall(r"(\d+) ?%", ENTRIES["/".join(self.parts)]["metric"])[0])

    def moved(self, score: Callable[..., Tensor]) -> Tensor:
        noise = array(f"noise/{self.model_name}")
        return score(self.attribute, self.inputs, self.attributions, self.explained, noise)

    def infidelity(self, multiplies_by_inputs: bool, normalised: bool) -> Tensor:
        disturbances = array(f"perturb/{self.model_name}")
        return infidelity(
            *self.signals(), disturbances, multiplies_by_inputs=multiplies_by_inputs, normalised=normalised
        )

    def subsets(self) -> tuple[Tensor, Tensor]:
        """Return the drawn features (samples, draws, size), and the same as masks (samples, draws, features)."""
        drawn = array(f"subsets/{self.model_name}").transpose(0, 1)
        features = self.inputs.flatten(1).shape[1]
        return drawn, torch.zeros(*drawn.shape[:2], features, dtype=torch.bool).scatter_(2, drawn, True)

    def correlation(self) -> Tensor:
        return faithfulness_correlation(*self.signals(), self.subsets()[1])

    def rank_correlation(self) -> Tensor:
        """Return Spearman's correlation as the reference has it: with sums in the order of the draw.

        A subset drawn twice is a tie in the metric. In the reference's sums it is none, by the last digit.
        """
        drawn, masks = self.subsets()
        values = self.attributions.flatten(1)
        sums = values.unsqueeze(1).expand(-1, drawn.shape[1], -1).gather(2, drawn).sum(dim=2)
        scorer = Scorer(self.model, self.inputs, self.explained, on_logits=True)
        absent = self.baseline.expand_as(self.inputs).flatten(1)
        return spearman(sums, -masked_scores(scorer, self.inputs.flatten(1), absent, masks))
