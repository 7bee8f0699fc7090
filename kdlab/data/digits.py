"""Handwritten digits that come with scikit-learn."""

import torch
from torch import Tensor

from kdlab.data.base import DataModule
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_parts, take


class Digits(DataModule):
    """8 x 8 grey images of digits: 1,078 / 359 / 360 samples of shape (1, 8, 8), 10 classes, standardised.

    UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), its test part, in scikit-learn.
    """

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read the wheel's own file and draw the split."""
        # A second of import that only those pay who load these data.
        from sklearn.datasets import load_digits

        digits = load_digits()
        target = torch.from_numpy(digits.target).long()
        tensors = {"inputs": torch.from_numpy(digits.images).float().unsqueeze(1) / 16, "target": target}
        sizes = sizes_of(len(target), (0.6, 0.2, 0.2))
        parts = stratified_parts(target, sizes, generator_at("split", self.split_seed))
        return self.standardised(
            {split: take(tensors, rows) for split, rows in zip(("train", "val", "test"), parts, strict=True)}
        )
