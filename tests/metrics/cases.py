"""Every metric class with signals to score, for the tests of the family."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.agreement import Agreement, AgreementWhereTeacherErrs, PerClassAgreement
from kdlab.metrics.aopc import AOPC
from kdlab.metrics.attribution_agreement import (
    AttributionCosine,
    AttributionPearson,
    AttributionRankAgreement,
    AttributionSignAgreement,
    AttributionSpearman,
    AttributionTopKIoU,
)
from kdlab.metrics.attribution_ssim import AttributionSSIM
from kdlab.metrics.auroc import AUROC
from kdlab.metrics.average_precision import AveragePrecision
from kdlab.metrics.calibration_error import CalibrationError, TeacherCalibrationError
from kdlab.metrics.comprehensiveness import Comprehensiveness, Sufficiency
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.divergence import JensenShannon, KLStudentTeacher, KLTeacherStudent, TotalVariation
from kdlab.metrics.effective_complexity import EffectiveComplexity
from kdlab.metrics.entropy import Entropy
from kdlab.metrics.faithfulness_correlation import FaithfulnessCorrelation
from kdlab.metrics.faithfulness_estimate import FaithfulnessEstimate
from kdlab.metrics.gini import Gini
from kdlab.metrics.infidelity import Infidelity
from kdlab.metrics.insertion_auc import InsertionAUC
from kdlab.metrics.interaction_strength import InteractionStrength
from kdlab.metrics.layer_randomisation import LayerRandomisation
from kdlab.metrics.localisation import PointingGame, RelevanceMassAccuracy, RelevanceRankAccuracy
from kdlab.metrics.macro_f1 import MacroF1
from kdlab.metrics.monotonicity import Monotonicity, MonotonicityCorrelation, MonotonicityFraction
from kdlab.metrics.negative_log_likelihood import NegativeLogLikelihood
from kdlab.metrics.parameter_randomisation import ParameterRandomisation
from kdlab.metrics.road import ROAD
from kdlab.metrics.sensitivity import AverageSensitivity, LocalLipschitz, MaxSensitivity
from tests.families import buildable

CLASSES = 3
Make = Callable[[], Metric]

LABELS: dict[str, Make] = {
    "accuracy": Accuracy,
    "nll": NegativeLogLikelihood,
    "macro_f1": partial(MacroF1, CLASSES),
    "auroc": partial(AUROC, CLASSES),
    "average_precision": partial(AveragePrecision, CLASSES),
    "calibration": partial(CalibrationError, CLASSES),
    "teacher_calibration": partial(TeacherCalibrationError, CLASSES),
}
FIDELITY: dict[str, Make] = {
    "agreement": Agreement,
    "where_teacher_errs": AgreementWhereTeacherErrs,
    "per_class": partial(PerClassAgreement, CLASSES),
    "kl_teacher_student": KLTeacherStudent,
    "kl_student_teacher": KLStudentTeacher,
    "js": JensenShannon,
    "tv": TotalVariation,
}
ATTRIBUTIONS: dict[str, Make] = {
    "gini": Gini,
    "entropy": Entropy,
    "effective_complexity": EffectiveComplexity,
    "mass": RelevanceMassAccuracy,
    "rank": RelevanceRankAccuracy,
    "pointing": PointingGame,
    "cosine": AttributionCosine,
    "pearson": AttributionPearson,
    "spearman": AttributionSpearman,
    "top_k_iou": AttributionTopKIoU,
    "sign_agreement": AttributionSignAgreement,
    "rank_agreement": AttributionRankAgreement,
}
PERTURBATION: dict[str, Make] = {
    "deletion": DeletionAUC,
    "deletion_logit": partial(DeletionAUC, on_logits=True),
    "deletion_five_steps": partial(DeletionAUC, steps=5),
    "insertion": InsertionAUC,
    "aopc": AOPC,
    "comprehensiveness": Comprehensiveness,
    "sufficiency": Sufficiency,
    "faithfulness_correlation": partial(FaithfulnessCorrelation, draws=20),
    "faithfulness_rank_correlation": partial(FaithfulnessCorrelation, draws=20, ranked=True),
    "faithfulness_estimate": FaithfulnessEstimate,
    "infidelity": partial(Infidelity, draws=8),
    "infidelity_normalised": partial(Infidelity, draws=8, normalised=True),
    "monotonicity": Monotonicity,
    "monotonicity_fraction": MonotonicityFraction,
    "monotonicity_correlation": MonotonicityCorrelation,
    "interaction": InteractionStrength,
    "max_sensitivity": partial(MaxSensitivity, draws=4),
    "average_sensitivity": partial(AverageSensitivity, draws=4),
    "local_lipschitz": partial(LocalLipschitz, draws=4),
    "parameter_randomisation": ParameterRandomisation,
}
CURVES: dict[str, Make] = {
    "layer_randomisation": LayerRandomisation,
    "layer_randomisation_alone": partial(LayerRandomisation, cascade=False),
}
IMAGES: dict[str, Make] = {
    "road": partial(ROAD, shares=(0.2, 0.6)),
    "ssim": AttributionSSIM,
    "deletion_patch": partial(DeletionAUC, patch=3),
    "aopc_patch": partial(AOPC, patch=2),
}
LISTED = LABELS | FIDELITY | ATTRIBUTIONS | PERTURBATION | CURVES | IMAGES
#: Every other metric of the package, found by itself: a new file needs no entry here.
DISCOVERED: dict[str, Make] = {
    target.__name__: build
    for target, build in buildable("metrics", classes=CLASSES).items()
    if target not in {type(make()) for make in LISTED.values()}
}
METRICS = LISTED | DISCOVERED


class Gradient:
    """The input gradient, or with ``multiplies_by_inputs`` gradient x input, of a model in whatever grad mode."""

    def __init__(self, model: nn.Module, multiplies_by_inputs: bool = False) -> None:
        self.model = model
        self.multiplies_by_inputs = multiplies_by_inputs

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        training = self.model.training
        self.model.eval()
        with torch.inference_mode(False), torch.enable_grad():
            points = inputs.detach().clone().requires_grad_()
            chosen = self.model(points).gather(1, target.clone().unsqueeze(1)).sum()
            slopes = torch.autograd.grad(chosen, points)[0]
        self.model.train(training)
        return slopes * inputs if self.multiplies_by_inputs else slopes


class Net(nn.Module):
    """A small net with all that a metric must leave alone: dropout, running statistics, modes."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, 16),
            nn.BatchNorm1d(16),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Linear(16, CLASSES),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.body(inputs)
        return out


def signals_of(shape: tuple[int, ...], batch: int = 7) -> dict[str, Any]:
    """Return every signal for random inputs of that shape; every class is among the labels."""
    draw = torch.Generator().manual_seed(1)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draw)

    inputs = normal(batch, *shape)
    torch.manual_seed(2)
    model = Net(inputs[0].numel()).eval()
    attribute = Gradient(model)
    with torch.no_grad():
        logits = model(inputs)
    explained = logits.argmax(dim=1)
    return {
        "inputs": inputs,
        "model": model,
        "logits": logits,
        "teacher_logits": normal(batch, CLASSES),
        "target": torch.arange(batch) % CLASSES,
        "explained": explained,
        "baseline": torch.zeros(shape),
        "attributions": attribute(inputs, explained),
        "teacher_attributions": normal(batch, *shape),
        "attribute": attribute,
        "multiplies_by_inputs": attribute.multiplies_by_inputs,
        "mask": normal(batch, *shape) > 0,
    }


def signals_for(name: str) -> dict[str, Any]:
    """Return signals that suit the metric of that name."""
    signals = signals_of((2, 6, 7) if name in IMAGES else (9,))
    if name == "where_teacher_errs":
        signals["target"] = (signals["teacher_logits"].argmax(dim=1) + 1) % CLASSES
    return signals
