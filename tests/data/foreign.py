"""Data modules that know nothing of kdlab."""

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class Foreign(lightning.LightningDataModule):
    """Pairs in batches of 4; the splits differ by the sign and size of their values, and count what is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def loader(self, split: str, scale: float) -> DataLoader[tuple[Tensor, ...]]:
        self.asked.append(split)
        values = scale * torch.arange(1, 11, dtype=torch.float32)[:, None]
        return DataLoader(TensorDataset(values, torch.arange(10) % 3), 4)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader("train", 1.0)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader("val", -1.0)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader("test", 100.0)


class Digested(Foreign):
    """It can say what it holds."""

    def content_hash(self) -> str:
        return "all of it"
