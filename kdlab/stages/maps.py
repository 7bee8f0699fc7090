"""Where a layer is active and what it attends to: one plane a sample, of student and teacher at paired layers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdlab.explainers.base import explaining
from kdlab.signals.capture import Spot, capture
from kdlab.teacher import Teacher


def plane(name: str, tensor: Tensor) -> Tensor:
    """Return a layer's tensor as one plane a sample: (batch, height, width).

    Of a feature map F (batch, channels, height, width) it is ``mean over channels of F^2``, >= 0, in the squared unit
    of the layer: the activation-based attention map of Zagoruyko & Komodakis 2017, section 3.1
    (https://arxiv.org/abs/1612.03928), their sum of squares divided by the number of channels. Of attention weights
    (batch, heads, queries, keys), as a path with ``:weights`` has them, it is the mean over heads, in [0, 1]: a row is
    a query, a column what it looks at, each row sums to 1.

    Args:
        name: the layer's path, as in ``layers`` of a term.
        tensor: what the layer gave.

    Raises:
        ValueError: If the tensor has not four axes.
    """
    if tensor.dim() != 4:
        raise ValueError(
            f"layer {name!r} gives {tuple(tensor.shape)}, which is no map; take a layer of (batch, channels, height, "
            f"width), or attention weights, as PATH:weights"
        )
    values = tensor.detach().float()
    return values.mean(dim=1) if Spot.parse(name).kind == "weights" else values.square().mean(dim=1)


def maps_of(
    model: nn.Module, teacher: Teacher, inputs: Tensor, layers: Mapping[str, str]
) -> list[tuple[Tensor, Tensor]]:
    """Return the planes of teacher and model for each pair of layers, in eval mode and without gradient.

    Args:
        model: the student.
        teacher: whose maps stand beside its.
        inputs: (batch, ...).
        layers: {path in the student: path in the teacher}.

    Raises:
        KeyError: If a path leads to no layer; it says what there is and what comes nearest.
        ValueError: If a layer gives no map, or the teacher has no layers.
    """
    # The frame is for the modes; nothing is differentiated.
    with explaining(model), torch.no_grad(), capture(model, list(layers)) as captured:
        model(inputs)
        own = [plane(path, captured[path]) for path in layers]
    _, features = teacher.logits_and_features({"inputs": inputs}, list(layers.values()))
    of_teacher = [plane(path, tensor) for path, tensor in zip(layers.values(), features, strict=True)]
    return list(zip(of_teacher, own, strict=True))


def check_maps(model: nn.Module, teacher: Teacher, inputs: Tensor, layers: Mapping[str, str]) -> None:
    """Refuse layers that could not be drawn, before anything trains; the arguments are those of ``maps_of``.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: As ``maps_of`` and ``capture`` do, with the key of the file.
    """
    try:
        maps_of(model, teacher, inputs, layers)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        if type(error) not in (KeyError, ValueError, TypeError, RuntimeError):
            raise  # out of memory, say, is nothing that another layer could help
        raise type(error)(f"evaluate.maps: {error.args[0] if error.args else error}") from error
