"""Small transformer encoders for images cut into patches and for series."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _EncoderBlock(nn.Module):
    """Self-attention, then two linear layers, each normalised before and added to its input: (batch, tokens, width).

    ``attention`` is a ``torch.nn.MultiheadAttention``, so that its weights can be captured
    (``blocks.0.attention:weights``).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mixing = nn.Sequential(
            OrderedDict(
                linear1=nn.Linear(width, 4 * width),
                gelu=nn.GELU(),
                dropout=nn.Dropout(dropout),
                linear2=nn.Linear(4 * width, width),
            )
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        result: Tensor = tokens + self.mixing(self.norm2(tokens))
        return result


class Transformer(nn.Module):
    """Cuts the input into patches, encodes them with learned places, averages the tokens.

    Pre-normalised encoder as in ViT (Dosovitskiy et al. 2021, section 3.1, https://arxiv.org/abs/2010.11929), with the
    tokens' mean in place of a class token. Returns logits (batch, classes). Layers are named: ``patches``, ``blocks.0``
    ... (each with ``norm1``, ``attention``, ``norm2``, ``mixing``), ``norm``, ``head``.

    Args:
        shape: Of one input: (channels, height, width) for images, (channels, length) for series.
        classes: Number of logits.
        patch: Height and width, or length, of a patch; it divides the input's.
        width: Size of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads of a block.
        dropout: Probability of dropping an attention weight or a hidden unit in training, in [0, 1).

    Raises:
        ValueError: If the shape is of neither kind, the patch does not divide it, or the heads do not divide the width.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(shape) not in (2, 3):
            raise ValueError(f"shape must be (channels, height, width) or (channels, length), got {tuple(shape)}")
        if min(*shape, classes, patch, width, depth, heads) < 1 or any(size % patch for size in shape[1:]):
            raise ValueError(f"patch {patch} must divide {tuple(shape[1:])}, and all sizes be positive")
        if width % heads or not 0 <= dropout < 1:
            raise ValueError(f"width must be a multiple of heads, dropout in [0, 1), got {width}, {heads}, {dropout}")
        convolution = nn.Conv2d if len(shape) == 3 else nn.Conv1d
        tokens = torch.Size(size // patch for size in shape[1:]).numel()
        self.patches = convolution(shape[0], width, kernel_size=patch, stride=patch)
        self.places = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.Sequential(*(_EncoderBlock(width, heads, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def tokens(self, shape: Sequence[int]) -> Tensor:
        """Return the number of the token that stands for each value of one input of this shape, int64.

        Patches are counted along the rows, or along time; all channels belong to one token.
        """
        patch, sizes = self.patches.kernel_size[0], shape[1:]
        number = torch.zeros(*sizes, dtype=torch.int64)
        for axis, size in enumerate(sizes):
            along = torch.arange(size) // patch
            number = number * (size // patch) + along.reshape(
                [-1 if dimension == axis else 1 for dimension in range(len(sizes))]
            )
        return number.expand(*shape)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of inputs (batch, *shape)."""
        tokens = self.patches(inputs).flatten(2).transpose(1, 2) + self.places
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return logits
