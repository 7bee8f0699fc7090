"""Looking at a network without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from kdlab.randomness import forked


@contextmanager
def untouched(seed: int, *modules: nn.Module) -> Iterator[None]:
    """Put modules into eval mode and seed the global generators; modes, buffers and generators come back afterwards.

    What is made inside, such as a loss's parts, stays, in train mode as torch makes it.

    Args:
        seed: of what is drawn inside.
        modules: whose modes and buffers are kept; statistics of a normalisation are such, and running counts.
    """
    parts = [part for module in modules for part in module.modules()]
    modes = [(part, part.training) for part in parts]
    buffers = [
        (part, name, buffer, buffer.detach().clone())
        for part in parts
        for name, buffer in part._buffers.items()
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
                part._buffers[name] = buffer
