"""ROAD: removal of an image's pixels that leaves no hole to see, by imputation from the neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_positive
from kdlab.metrics.contributions import contributions
from kdlab.metrics.explaining import draw_normal
from kdlab.metrics.numerics import generator_of, top_count
from kdlab.metrics.order import relevance_of, units_of
from kdlab.metrics.scorer import Model, Scorer

# Direct neighbours weigh 1/6, diagonal ones 1/12, as in the ROAD paper.
DIAGONAL = 1 / 12


def impute(images: Tensor, removed: Tensor, tolerance: float = 1e-4, rounds: int = 1000) -> Tensor:
    """Return the images with every removed pixel the weighted mean of its neighbours, removed ones included.

    The linear system ``sum_j w_ij (x_i - x_j) = 0`` over the removed pixels i is solved by conjugate gradients, all
    images at once; at the border the weights that leave the image fall away. Where all pixels are removed nothing says
    the values: NaN.

    Args:
        images: (batch, channels, height, width).
        removed: (batch, 1, height, width) bool, for all channels.
        tolerance: Of the residual, relative to the start's, for every image and channel.
        rounds: At most so many.
    """
    hole = removed.to(images.dtype)
    # What is smoothed holds the pixel itself too, with four times a diagonal neighbour's weight, on both sides alike.
    own = hole * (DIAGONAL * _smoothed(torch.ones_like(images[:1, :1])))
    others = hole * DIAGONAL

    def laplacian(values: Tensor) -> Tensor:
        return own * values - others * _smoothed(values)

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum(dim=(2, 3), keepdim=True)

    solution = images * (1 - hole)
    residual = -laplacian(solution)
    direction, power = residual, dot(residual, residual)
    enough = power * tolerance**2
    unsolved = power > enough
    for _ in range(rounds):
        if not bool(unsolved.any()):
            break
        image = laplacian(direction)
        # A solved image has no direction left; it must not divide 0 by 0 while the others go on.
        step = torch.where(unsolved, power / dot(direction, image), 0)
        solution, residual = solution.addcmul(step, direction), residual.addcmul(-step, image)
        before, power = power, torch.where(unsolved, dot(residual, residual), power)
        direction = residual.addcmul(torch.where(unsolved, power / before, 0), direction)
        unsolved = power > enough
    return solution.masked_fill(removed.flatten(1).all(dim=1).view(-1, 1, 1, 1), torch.nan)


def _smoothed(values: Tensor) -> Tensor:
    """Sum of each pixel's square of neighbours with the weights 1 2 1 / 2 4 2 / 1 2 1, nothing beyond the border.

    The weights are those of the columns times those of the rows, so that two passes of shifted additions do what a
    convolution does, in a seventieth of its time on colour images.
    """
    rows = 2 * values
    rows[..., 1:] += values[..., :-1]
    rows[..., :-1] += values[..., 1:]
    both = 2 * rows
    both[..., 1:, :] += rows[..., :-1, :]
    both[..., :-1, :] += rows[..., 1:, :]
    return both


def road(
    model: Model,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    noise: Tensor,
    *,
    shares: Sequence[float],
    baseline: Tensor | None = None,
    multiplies_by_inputs: bool = True,
    on_logits: bool = False,
    seed: int = 0,
    chunk: int | None = None,
) -> Tensor:
    """Return ``f(x) - f(x with the top share of pixels imputed)``: (batch, shares), NaN where there is no order.

    Args:
        model: Inputs (batch, channels, height, width) -> logits (batch, classes).
        inputs: (batch, channels, height, width).
        attributions: The inputs' shape; a pixel's relevance is the sum over channels, signed.
        explained: (batch,), the class explained.
        noise: (shares, channels, height, width), added to imputed pixels.
        shares: What parts of the pixels go, the most relevant first; rounded up.
        baseline: Shape of one input, or broadcastable to the inputs; of use for slopes only.
        multiplies_by_inputs: Whether attributions are contributions as they stand; else slopes, which count times the
            input's distance to the baseline.
        on_logits: The logit of the class; else its probability.
        seed: Of the order of equally relevant pixels: what is imputed from neighbours cannot go evenly.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If inputs are no images, shapes do not fit, or the explained class is none of the model's.
    """
    values = contributions(attributions, inputs, baseline, multiplies_by_inputs)
    images = inputs.detach()
    height, width = images.shape[2], images.shape[3]
    relevance, ordered = relevance_of(values, units_of(inputs.shape[1:], patch=1))
    count = height * width
    drawn = torch.randperm(count, generator=generator_of(seed)).to(relevance.device)
    first = drawn[relevance[:, drawn].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(count, device=first.device).expand_as(first)
    places = torch.empty_like(first).scatter_(1, first, places).reshape(-1, 1, height, width)
    scorer = Scorer(model, inputs, explained, on_logits, chunk)

    def without(number: int, share: float) -> Tensor:
        added, limit = noise[number].to(images), top_count(share, count)

        def build(samples: slice, _: slice) -> Tensor:
            gone, whole = places[samples] < limit, images[samples]
            return torch.where(gone, impute(whole, gone) + added, whole)

        return scorer.versions(1, build)

    # Share by share, because the larger the hole, the more rounds its images need.
    drop = scorer.clean().unsqueeze(1) - torch.cat([without(*one) for one in enumerate(shares)], dim=1)
    return drop.masked_fill(~ordered.unsqueeze(1), torch.nan)


class ROAD(PerSample):
    """Mean drop of the score when the top pixels are imputed from their neighbours: [-1, 1], higher is better.

    ``mean_q f(x) - f(x with the top q imputed)``, f the probability of the explained class. Imputed pixels tell the
    model nothing about where they were, as a constant baseline does. Pixels go by signed contribution, a slope
    multiplied by the input's distance to the baseline. Noise, and the order of equally relevant pixels, are drawn once
    and shared by all samples. NaN where the attribution gives no order. For images only. Rong et al. 2022, "noisy
    linear imputation", https://arxiv.org/abs/2202.00449. ROAD rewards blurred maps: https://arxiv.org/abs/2304.13836.

    Args:
        shares: q, parts of the pixels, in (0, 1).
        noise: Standard deviation added to imputed pixels, in the input's unit.
        on_logits: Score the logit instead of the probability.
        seed: Of the noise and of the order of equally relevant pixels.
        chunk: Rows computed at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If there is no share, one is not in (0, 1), or a number is out of range.
    """

    higher_is_better = True

    def __init__(
        self,
        shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        noise: float = 0.01,
        on_logits: bool = False,
        seed: int = 0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not shares or not all(0 < share < 1 for share in shares):
            raise ValueError(f"shares must lie in (0, 1), one or more, got {list(shares)}")
        if noise < 0:
            raise ValueError(f"noise must be 0 or more, got {noise}")
        check_positive(chunk=chunk)
        self.shares = tuple(shares)
        self.noise = noise
        self.on_logits = on_logits
        self.seed = seed
        self.chunk = chunk

    def update(
        self,
        model: Model,
        inputs: Tensor,
        attributions: Tensor,
        explained: Tensor,
        baseline: Tensor | None = None,
        multiplies_by_inputs: bool = True,
    ) -> None:
        """Take in images (batch, channels, height, width), attributions of that shape, explained (batch,).

        ``multiplies_by_inputs`` says whether attributions are contributions as they stand, or slopes, which need the
        baseline, of one input's shape.

        Raises:
            ValueError: If inputs are no images, slopes have no baseline, shapes do not fit, or the explained class is
                none of the model's.
        """
        if inputs.dim() != 4:
            raise ValueError(f"ROAD needs images (batch, channels, height, width), got {tuple(inputs.shape)}")
        noise = draw_normal(len(self.shares), inputs.shape[1:], self.noise, self.seed, inputs)
        drops = road(
            model,
            inputs,
            attributions,
            explained,
            noise,
            shares=self.shares,
            baseline=baseline,
            multiplies_by_inputs=multiplies_by_inputs,
            on_logits=self.on_logits,
            seed=self.seed,
            chunk=self.chunk,
        )
        self.add(drops.mean(dim=1))
