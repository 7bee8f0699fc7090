"""Which regions speak for which class."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.features.pooling import pooled
from kdlab.losses.numerics import Features, check_alike, paired, total, unit


class ClassActivationTransfer(nn.Module):
    """Mean squared difference of pooled class activation maps: lower is better, minimum 0.

    ``mean((M_s - M_t)^2)`` over batch, classes and cells, summed over the layer pairs, where M averages a class
    activation map to ``resolution`` cells along each axis and, if ``normalise``, divides it by its Euclidean length
    over the cells. Guo et al. 2023 (CAT-KD),
    https://openaccess.thecvf.com/content/CVPR2023/html/Guo_Class_Attention_Transfer_Based_Knowledge_Distillation_CVPR_2023_paper.html.
    The layer must yield one map a class, as a 1 x 1 convolution before global average pooling does: the same function
    as pooling before a linear head. Usual weight: 2 to 15, with normalisation 400.

    Args:
        resolution: Cells along each axis, > 0; 2 in the paper.
        normalise: Whether only where, and not how strongly, a class is seen is matched (CAT in the paper).

    Raises:
        ValueError: If the resolution is not positive, or, when called, if classes or batches differ.
    """

    def __init__(self, resolution: int = 2, normalise: bool = False) -> None:
        super().__init__()
        if resolution < 1:
            raise ValueError(f"resolution must be positive, got {resolution}")
        self.resolution = resolution
        self.normalise = normalise

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from maps of shape (batch, classes, positions...), whose positions may differ."""
        values = []
        for student, teacher in paired(features, teacher_features):
            ours, theirs = self.cells(student), self.cells(teacher)
            check_alike(features=ours, teacher_features=theirs)
            values.append(F.mse_loss(ours, theirs))
        return total(values)

    def cells(self, maps: Tensor) -> Tensor:
        """Return (batch, classes, cells)."""
        if maps.ndim < 3:
            raise ValueError(f"features of shape {tuple(maps.shape)} are no maps (batch, classes, positions...)")
        cells = pooled(maps, (self.resolution,) * (maps.ndim - 2)).flatten(2)
        return unit(cells, dim=2) if self.normalise else cells
