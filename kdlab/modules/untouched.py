"""Running a network without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from kdlab.randomness import forked


@contextmanager
def untouched(seed: int, *modules: nn.Module) -> Iterator[None]:
    """Put modules into eval mode and seed the global generators; afterwards restore modes, buffers and generators.

    Modules that are created inside, such as a loss's parts, stay as they are and keep torch's default train mode.

    Args:
        seed: of the random numbers drawn inside.
        modules: their modes and buffers are restored; buffers include a normalisation's statistics and running counts.
    """
    parts = [part for module in modules for part in module.modules()]
    modes = [(part, part.training) for part in parts]
    buffers = [
        (part, name, buffer, buffer.detach().clone())
        for part in parts
        for name, buffer in part._buffers.items()
        # A lazy buffer has no values yet that could be copied.
        if isinstance(buffer, Tensor) and not nn.parameter.is_lazy(buffer)
    ]
    with forked(seed):
        try:
            for part in parts:
                part.training = False
            yield
        finally:
            for part, mode in modes:
                part.training = mode
            for part, name, buffer, before in buffers:
                buffer.detach().copy_(before)
                # A forward pass may have put another tensor in the buffer's place.
                part._buffers[name] = buffer
