"""Relations between samples that float32 can hold are not lost in computing them."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from kdlab.losses.relations.correlation_congruence import Bilinear, CorrelationCongruence
from kdlab.losses.relations.pkt import PKT
from kdlab.losses.relations.rkd_angle import RKDAngle
from kdlab.losses.relations.rkd_distance import RKDDistance
from kdlab.losses.relations.similarity_preserving import SimilarityPreserving

LOSSES: list[nn.Module] = [
    RKDDistance(),
    RKDAngle(),
    SimilarityPreserving(),
    PKT(),
    CorrelationCongruence(),
    CorrelationCongruence(Bilinear()),
]
SCALES = [1e0, 1e1, 1e2, 1e3, 1e4]


def clusters(tight: float, offset: float, width: int) -> Tensor:
    """Two clusters of 8 samples, ``tight`` times narrower than they are apart, far from the origin."""
    centres = torch.randn(2, width).repeat_interleave(8, dim=0)
    return (centres + torch.randn(16, width) / tight + offset).float()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize(("tight", "offset"), list(itertools.product(SCALES, [0.0, *SCALES])))
def test_float32_gives_what_float64_gives(loss: nn.Module, tight: float, offset: float) -> None:
    torch.manual_seed(3)
    student, teacher = clusters(tight, offset, 24), clusters(tight, offset, 32)
    found = []
    for dtype in (torch.float32, torch.float64):
        layer = student.to(dtype).requires_grad_()
        value = loss([layer], [teacher.to(dtype)])
        (slope,) = torch.autograd.grad(value, layer)
        assert value.dtype == slope.dtype == dtype
        found.append((value.double(), slope.double()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=0)
    assert (found[0][1] - found[1][1]).norm() <= 1e-3 * found[1][1].norm()


def naive_distances(vectors: Tensor) -> Tensor:
    apart = (vectors[:, None] - vectors[None]).norm(dim=2)
    return apart / apart[apart > 0].mean()


@pytest.mark.parametrize("tight", SCALES)
def test_distances_within_a_tight_cluster_are_those_of_the_differences(tight: float) -> None:
    torch.manual_seed(3)
    student, teacher = clusters(tight, 1.0, 24)[:8], clusters(tight, 1.0, 32)
    # One sample far away keeps the mean from being the cluster's own middle.
    student = torch.cat([student, student.new_full((8, 24), 50.0) + torch.randn(8, 24)])
    wanted = nn.functional.smooth_l1_loss(naive_distances(student.double()), naive_distances(teacher.double()))
    torch.testing.assert_close(RKDDistance()([student], [teacher]).double(), wanted, rtol=1e-6, atol=0)
