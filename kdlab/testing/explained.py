"""Small models of each kind to prove an explainer on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def dense() -> nn.Sequential:
    """Smooth net on 6 features with batch statistics and dropout, 3 classes."""
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )


def conv() -> nn.Sequential:
    """Convolutional net on (2, 8, 8) images, 3 classes."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.Conv2d(4, 5, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


class Attention(nn.Module):
    """Two encoder layers on sequences (5, 8), 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def tokens(self, shape: Sequence[int]) -> Tensor:
        """Return the step of each value of one input."""
        return torch.arange(shape[0])[:, None].expand(*shape)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, 3)."""
        logits: Tensor = self.head(self.encoder(inputs).mean(dim=1))
        return logits


class Recurrent(nn.Module):
    """LSTM on sequences (5, 8), 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, 3)."""
        logits: Tensor = self.head(self.lstm(inputs)[0][:, -1])
        return logits
