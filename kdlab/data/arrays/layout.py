"""What an array's dimensions mean, and its values as inputs: images, series and tables."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kdlab.data.arrays.npz_file import Header, Values

Kind = Literal["images", "series", "table"]
KINDS: dict[int, tuple[Kind, ...]] = {2: ("table", "series"), 3: ("series", "images"), 4: ("images",)}
#: Images have so many channels where nobody says which axis has them.
MOST_CHANNELS = 4
#: The smallest side of what is told to be an image, and how much longer the other may be.
SMALLEST_SIDE, LONGER = 8, 4
WIDE = {np.dtype(kind) for kind in ("i4", "u4", "i8", "u8", "f8")}


def kind_of(called: str, header: Header, told: Kind | None) -> Kind:
    """Return what the inputs are: as told, or the only thing that their shape and type allow.

    Four dimensions are images, and so are three of bytes whose sides are alike.

    Args:
        called: What a message calls the array.
        header: Of the array, samples first.
        told: None where the user has not said it.

    Raises:
        ValueError: If the shape does not fit, or allows two readings.
    """
    possible = KINDS.get(len(header.shape), ())
    if header.dtype.kind not in "biuf" or not possible or (told is not None and told not in possible):
        raise ValueError(
            f"{called} holds {header}, which is no {told or 'input'}; inputs are numbers: tables (samples, columns),"
            " series (samples, steps) or with channels, images (samples, height, width) or with channels"
        )
    kind = told or only_kind(header)
    if kind is None:
        raise ValueError(
            f"{called} holds {header}, which may be {' or '.join(possible)}; say kind: {' or kind: '.join(possible)}"
        )
    return kind


def only_kind(header: Header) -> Kind | None:
    """Return the only thing that an array of numbers can be by its shape and type; None where there are two."""
    possible = KINDS[len(header.shape)]
    if len(possible) == 1:
        return possible[0]
    short, long = sorted(header.shape[-2:])
    alike = len(header.shape) == 3 and short >= SMALLEST_SIDE and long <= LONGER * short
    return "images" if alike and header.dtype == np.uint8 else None


def channels_last(called: str, shape: tuple[int, ...], kind: Kind, told: bool | None) -> bool | None:
    """Return whether an array has its channels last; None where it has no axis of them.

    Images have at most 4 channels, series at most a quarter as many channels as steps; otherwise it must be told.

    Raises:
        ValueError: If it must be told, or was told of an array without channels.
    """
    if kind == "table" or len(shape) == (3 if kind == "images" else 2):
        if told is not None:
            raise ValueError(f"{called} has the shape {shape}, without channels; leave out channels_last")
        return None
    if told is not None:
        return told
    first, last = few_channels(shape, kind)
    if first == last:
        hint = ", and volumes are not supported" if kind == "images" and not first else ""
        raise ValueError(
            f"{called} has the shape {shape}: the axis after the samples or the last one may be the channels{hint};"
            " say channels_last: true or false"
        )
    return last


def few_channels(shape: tuple[int, ...], kind: Kind) -> tuple[bool, bool]:
    """Return whether the axis after the samples, and whether the last one, is as short as channels are."""
    first, last = shape[1], shape[-1]
    if kind == "images":
        return first <= MOST_CHANNELS, last <= MOST_CHANNELS
    return first * LONGER <= last, last * LONGER <= first


def as_inputs(values: Values, kind: Kind, last: bool | None) -> Tensor:
    """Return inputs (samples, columns), (samples, channels, steps) or (samples, channels, height, width).

    Pixels of 8 and 16 bits become 0 .. 1; everything else keeps its unit. Numbers that float32 cannot hold exactly are
    float64.
    """
    values = _channels_first(values, kind, last)
    wide = kind != "images" and values.dtype.newbyteorder("=") in WIDE
    inputs = torch.from_numpy(values.astype(np.float64 if wide else np.float32))
    if kind == "images" and values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        inputs /= np.iinfo(values.dtype).max
    return inputs


def as_mask(called: str, values: Values, inputs: Tensor, kind: Kind, last: bool | None) -> Tensor:
    """Return a mask of the inputs' shape, or with one channel for all: true where a person sees the evidence.

    Raises:
        ValueError: If it has another shape.
    """
    has_channels = last is None or values.ndim == inputs.ndim
    mask = torch.from_numpy(_channels_first(values, kind, last if has_channels else None) != 0)
    sizes = tuple(mask.shape)
    if (kind != "table" and sizes == (len(inputs), 1, *inputs.shape[2:])) or sizes == tuple(inputs.shape):
        return mask
    raise ValueError(f"{called} has the shape {tuple(values.shape)}, which fits no inputs of {tuple(inputs.shape)}")


def _channels_first(values: Values, kind: Kind, last: bool | None) -> Values:
    if kind == "table":
        return values
    if last is None:
        return np.expand_dims(values, 1)
    return np.moveaxis(values, -1, 1) if last else values
