"""Maps of a layer brought to the inputs' grid."""

from torch import Tensor
from torch.nn.functional import interpolate

INTERPOLATIONS = {3: "linear", 4: "bilinear", 5: "trilinear"}


def as_inputs(maps: Tensor, inputs: Tensor) -> Tensor:
    """Stretch maps (batch, 1, ...) over the inputs (batch, channels, ...), the same value in every channel.

    Between the centres of the layer's cells it is linear (``align_corners=False``).

    Raises:
        ValueError: If maps and inputs do not both have the same number, 1 to 3, of spatial axes.
    """
    if maps.dim() != inputs.dim() or inputs.dim() not in INTERPOLATIONS:
        raise ValueError(
            f"a map of shape {tuple(maps.shape)} cannot be laid over inputs of shape {tuple(inputs.shape)}; "
            "choose a layer whose output is (batch, channels, ...) with the inputs' spatial axes"
        )
    stretched = interpolate(maps, size=inputs.shape[2:], mode=INTERPOLATIONS[inputs.dim()], align_corners=False)
    return stretched.expand_as(inputs)
