"""The samples that are explained: of which split, and which of it."""

import pytest
import torch
from torch import Tensor

from kdlab.callbacks.evaluate import Evaluate
from kdlab.explainers.input_gradient import InputGradient
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.models.mlp import MLP
from kdlab.modules.supervised import Supervised
from tests.callbacks.projects import trainer
from tests.data.made_up import MadeUp


class ByClass(MadeUp):
    """Whose samples stand class after class, the classes of very different size."""

    def load(self) -> dict[str, dict[str, Tensor]]:
        sizes = torch.tensor([24, 12, 4])
        target = torch.arange(3).repeat_interleave(sizes)
        inputs = torch.randn(3, len(target), 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return {
            name: {"inputs": part, "target": target}
            for name, part in zip(("train", "val", "test"), inputs, strict=True)
        }


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_probe_is_of_the_split_that_is_asked_for(split: str) -> None:
    data = ByClass(classes=3)
    found = data.probe(12, split)
    own = data.splits[split]
    rows = [int((own["index"] == index).nonzero()) for index in found["index"]]
    assert len(set(rows)) == 12
    assert torch.equal(found["inputs"], own["inputs"][rows])
    assert torch.equal(found["target"], own["target"][rows])


@pytest.mark.parametrize("count", [10, 20])
def test_the_probe_has_the_classes_in_the_parts_that_the_split_has(count: int) -> None:
    # The first of a split would be of one class, and classes of one size are stratified whoever draws.
    found = ByClass(classes=3).probe(count)["target"].bincount(minlength=3).tolist()
    assert found == [count * 6 // 10, count * 3 // 10, count // 10]


def test_what_is_explained_at_test_is_of_the_test_split() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=12)
    data = ByClass(classes=3)
    trainer(evaluate).test(Supervised(MLP(inputs=64, classes=3)), datamodule=data, verbose=False)
    scored = torch.cat(evaluate.scores["deletion"])[:, 0].long().tolist()
    assert scored == data.probe(12, "test")["index"].tolist()
    assert set(scored) <= set(data.splits["test"]["index"].tolist())
    assert not set(scored) & set(data.splits["val"]["index"].tolist())
