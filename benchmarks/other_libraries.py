"""One model, its samples and their attributions, as other libraries' metrics and kdlab's are given them."""

from collections.abc import Callable
from typing import Any

import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from kdlab.explainers.input_gradient import InputGradient
from kdlab.metrics.base import PerSample
from kdlab.metrics.removal import area

SUBSET, DRAWS, MOVES, RADIUS = 6, 100, 10, 0.02
#: Computes a metric and returns the mean score.
Side = Callable[[], float]


class Explained:
    """A model, samples and their input gradients, in torch and in NumPy."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], samples: int) -> None:
        torch.manual_seed(0)
        self.model = model.eval().requires_grad_(False)
        self.inputs = torch.randn(samples, *shape)
        self.baseline = torch.zeros(shape)
        self.explainer = InputGradient(self.model)
        self.multiplies_by_inputs = self.explainer.multiplies_by_inputs
        with torch.no_grad():
            self.target = self.model(self.inputs).argmax(dim=1)
            self.attributions = self.explainer.attribute(self.inputs, self.target)

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Attributions, for metrics that explain again."""
        return self.explainer.attribute(inputs, target)

    def updated(self, metric: PerSample, *names: str) -> Side:
        """A metric's update on all samples with what it asks for."""
        known: dict[str, Any] = {
            "model": self.model,
            "inputs": self.inputs,
            "attributions": self.attributions,
            "explained": self.target,
            "baseline": self.baseline,
            "attribute": self,
            "multiplies_by_inputs": self.multiplies_by_inputs,
        }
        given = {name: known[name] for name in names}

        def side() -> float:
            metric.reset()
            with torch.no_grad():
                metric.update(**given)
            return float(metric.compute())

        return side


def quantus_sides(explained: Explained) -> dict[str, Side]:
    """The three metrics by Quantus, in batches of all samples and with its warnings off."""
    import quantus

    inputs, target = explained.inputs.numpy(), explained.target.numpy()
    attributions = explained.attributions.numpy()

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: object) -> Any:  # noqa: ANN401  NumPy arrays
        with torch.no_grad():
            given = torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets)
            return explained.explainer.attribute(*given).numpy()

    quiet = {"disable_warnings": True, "normalise": False, "abs": False, "return_aggregate": False}
    metrics = {
        # Its own area needs numpy.trapz, which NumPy 2.4 has no longer: the curve is asked for.
        "deletion AUC": quantus.PixelFlipping(features_in_step=1, perturb_baseline=0.0, **quiet),
        "faithfulness correlation": quantus.FaithfulnessCorrelation(
            nr_runs=DRAWS, subset_size=SUBSET, perturb_baseline=0.0, **quiet
        ),
        "max-sensitivity": quantus.MaxSensitivity(nr_samples=MOVES, lower_bound=RADIUS, **quiet),
    }

    with torch.no_grad():
        clean = explained.model(explained.inputs).softmax(dim=1).gather(1, explained.target[:, None])

    def side(name: str) -> Side:
        def work() -> float:
            scores: Any = metrics[name](
                model=explained.model,
                x_batch=inputs,
                y_batch=target,
                a_batch=attributions,
                explain_func=explain,
                softmax=name == "deletion AUC",
                channel_first=True,
                batch_size=len(inputs),
            )
            values = torch.as_tensor(scores, dtype=torch.float64)
            if values.dim() == 2:
                values = area(torch.cat([clean, values], dim=1))
            return float(values.nanmean())

        return work

    return {name: side(name) for name in metrics}


def captum_sides(explained: Explained) -> dict[str, Side]:
    """What captum has: max-sensitivity and infidelity, all draws of all samples in one batch."""

    def noise(inputs: Tensor) -> tuple[Tensor, Tensor]:
        moves = 0.1 * torch.randn_like(inputs)
        return moves, inputs - moves

    def explain(inputs: tuple[Tensor, ...], target: Tensor) -> tuple[Tensor, ...]:
        return (explained(inputs[0], target),)

    def sensitivity() -> float:
        scores = sensitivity_max(
            explain,
            explained.inputs,
            perturb_radius=RADIUS,
            n_perturb_samples=MOVES,
            target=explained.target,
        )
        return float(scores.mean())

    def infidelity() -> float:
        scores = captum_infidelity(
            explained.model,
            noise,
            explained.inputs,
            explained.attributions,
            target=explained.target,
            n_perturb_samples=DRAWS,
        )
        return float(scores.mean())

    return {"max-sensitivity": sensitivity, "infidelity": infidelity}
