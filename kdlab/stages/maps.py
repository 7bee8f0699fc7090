"""Where a layer is active or what it attends to, as one plane for each sample, in student and teacher."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdlab.explainers.base import explaining
from kdlab.signals.capture import Spot, capture
from kdlab.teacher import Teacher


def plane(name: str, tensor: Tensor) -> Tensor:
    """Return a layer's tensor as one plane for each sample: (batch, height, width).

    For a feature map F (batch, channels, height, width) it is ``mean over channels of F^2``, >= 0, in the squared unit
    of the layer. This is the activation-based attention map of Zagoruyko & Komodakis 2017, section 3.1
    (https://arxiv.org/abs/1612.03928), their sum of squares divided by the number of channels. For attention weights
    (batch, heads, queries, keys), from a path with ``:weights``, it is the mean over heads, in [0, 1]: a row is a
    query, a column is what it attends to, and each row sums to 1.

    Args:
        name: the layer's path, as in ``layers`` of a term.
        tensor: the layer's output or attention weights.

    Raises:
        ValueError: If the tensor does not have four axes.
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
        teacher: the teacher whose maps are compared with the student's.
        inputs: (batch, ...).
        layers: {path in the student: path in the teacher}.

    Raises:
        KeyError: If a path names no layer; the message lists the layers and the nearest match.
        ValueError: If a layer gives no map, or the teacher has no layers.
    """
    # ``explaining`` is used for eval mode only; nothing is differentiated here.
    with explaining(model), torch.no_grad(), capture(model, list(layers)) as captured:
        model(inputs)
        own = [plane(path, captured[path]) for path in layers]
    _, features = teacher.logits_and_features({"inputs": inputs}, list(layers.values()))
    of_teacher = [plane(path, tensor) for path, tensor in zip(layers.values(), features, strict=True)]
    return list(zip(of_teacher, own, strict=True))


def check_maps(model: nn.Module, teacher: Teacher, inputs: Tensor, layers: Mapping[str, str]) -> None:
    """Refuse layers that cannot be drawn, before anything trains; the arguments are those of ``maps_of``.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: As ``maps_of`` and ``capture`` raise them, with the key of the
            file.
    """
    try:
        maps_of(model, teacher, inputs, layers)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        if type(error) not in (KeyError, ValueError, TypeError, RuntimeError):
            raise  # another layer would not help against an error such as out of memory
        raise type(error)(f"evaluate.maps: {error.args[0] if error.args else error}") from error
