"""The breast cancer table that comes with scikit-learn."""

import torch
from torch import Tensor

from kdlab.data.base import DataModule
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_parts, take


class BreastCancer(DataModule):
    """30 measurements of cell nuclei, standardised with the training split: 341 / 114 / 114, malignant or benign.

    UCI Breast Cancer Wisconsin, Diagnostic (Street, Wolberg and Mangasarian 1993), in scikit-learn. A linear model is
    already as good as anything here: for demonstrations of explanations, not of distillation.
    """

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read the wheel's own file and draw the split."""
        # A second of import that only those pay who load these data.
        from sklearn.datasets import load_breast_cancer

        table = load_breast_cancer()
        self.class_names = [str(name) for name in table.target_names]
        self.feature_names = [str(name) for name in table.feature_names]
        target = torch.from_numpy(table.target).long()
        tensors = {"inputs": torch.from_numpy(table.data), "target": target}
        sizes = sizes_of(len(target), (0.6, 0.2, 0.2))
        parts = stratified_parts(target, sizes, generator_at("split", self.split_seed))
        splits = {split: take(tensors, rows) for split, rows in zip(("train", "val", "test"), parts, strict=True)}
        return self.standardised(splits)
