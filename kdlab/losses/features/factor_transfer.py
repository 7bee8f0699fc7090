"""The teacher's layer paraphrased, so that a student need not speak with its channels."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import Features, check_alike, paired, through, total, unit


class FactorMatch(nn.Module):
    """Difference of normalised factors: no unit, lower is better, minimum 0.

    ``mean(|f_s / ||f_s|| - f_t / ||f_t|||^p)`` over batch and elements of the flattened factors, summed over the
    pairs. Kim et al. 2018, the factor transfer loss, https://arxiv.org/abs/1802.04977.

    Args:
        p: Power of the difference, >= 1.

    Raises:
        ValueError: If p is less than 1, or, when called, if the shapes differ.
    """

    def __init__(self, p: float = 1.0) -> None:
        super().__init__()
        if not p >= 1:
            raise ValueError(f"p must be at least 1, got {p}")
        self.p = p

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from factors of shape (batch, ...)."""
        values = []
        for student, teacher in paired(features, teacher_features):
            check_alike(features=student, teacher_features=teacher)
            difference = unit(student.flatten(1)) - unit(teacher.flatten(1))
            values.append(difference.abs().pow(self.p).mean())
        return total(values)


def convolution(channels: int, outputs: int) -> nn.Module:
    """Return a 3 x 3 convolution with a leaky ReLU."""
    return nn.Sequential(nn.Conv2d(channels, outputs, 3, padding=1), nn.LeakyReLU(0.1))


class FactorTransfer(nn.Module):
    """Difference between translated student features and paraphrased teacher features: lower is better.

    ``FactorMatch(translator(F_s), paraphraser(F_t)) + mean((rebuilt F_t - F_t)^2)``, summed over the layer pairs. The
    second part trains the paraphraser alone, beside the student instead of before it as in the paper; no gradient of
    the first reaches it. Minimum 0, reached when the factors agree and rebuild the teacher's layer. Kim et al. 2018,
    https://arxiv.org/abs/1802.04977. Translator and paraphraser are made by ``prepare``, trained with the student and
    not exported. Usual weight: 200.

    Args:
        rate: Factors per channel of the teacher, > 0; 0.5 to 0.75 in the paper.
        p: Power of the difference, >= 1.

    Raises:
        ValueError: If an argument is out of range, or, when called, if maps differ in size.
        RuntimeError: When called before ``prepare``, or with other layers.
    """

    def __init__(self, rate: float = 0.5, p: float = 1.0) -> None:
        super().__init__()
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.rate = rate
        self.match = FactorMatch(p)
        self.translators = nn.ModuleList()
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()

    def prepare(self, features: Features, teacher_features: Features) -> None:
        """Make a translator and a paraphraser for each pair of layers (batch, channels, height, width)."""
        self.translators, self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for student, teacher in paired(features, teacher_features):
            channels, factors = teacher.shape[1], max(1, round(self.rate * teacher.shape[1]))
            self.translators.append(convolution(student.shape[1], factors).to(student.device, student.dtype))
            self.encoders.append(convolution(channels, factors).to(student.device, student.dtype))
            self.decoders.append(convolution(factors, channels).to(student.device, student.dtype))

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, height, width)."""
        pairs = paired(features, teacher_features)
        if len(pairs) != len(self.translators):
            raise RuntimeError(f"{len(pairs)} layers, but prepared for {len(self.translators)}; call prepare first")
        values = []
        for translator, encoder, decoder, (student, teacher) in zip(
            self.translators, self.encoders, self.decoders, pairs, strict=True
        ):
            factors = through(encoder, teacher.detach())
            values.append(self.match(through(translator, student), factors.detach()))
            values.append(F.mse_loss(through(decoder, factors), teacher))
        return total(values)
