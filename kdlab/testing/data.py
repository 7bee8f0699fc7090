"""What every data module must hold; call these on your own.

Each check raises AssertionError with what was found.
"""

import copy

import torch
from torch import Tensor

from kdlab.data.base import SPLITS, DataModule
from kdlab.data.batches import as_batch
from kdlab.data.loader import ShuffledLoader, TensorLoader


def check_batches(data: DataModule) -> None:
    """Batches are dicts of one length with class numbers or -1, identities, and finite float32 inputs.

    Where there is a vocabulary, inputs are int64 and below it.
    """
    data.setup()
    inputs_type = torch.float32 if data.vocabulary is None else torch.int64
    expected = {"inputs": inputs_type, "target": torch.int64, "index": torch.int64}
    for split, loader in _loaders(data).items():
        for batch in loader:
            named = as_batch(batch)
            _require({"inputs", "target", "index"} <= named.keys(), f"{split} batches have {sorted(named)}")
            lengths = {name: len(tensor) for name, tensor in named.items()}
            _require(len(set(lengths.values())) == 1, f"{split} batches hold tensors of different lengths: {lengths}")
            _require(named["inputs"].shape[1:] == data.shape, f"{split} inputs are {named['inputs'].shape[1:]}")
            types = {name: named[name].dtype for name in expected}
            _require(types == expected, f"{split} has types {types}")
            _require(bool(named["inputs"].isfinite().all()), f"{split} inputs are not finite")
            if data.vocabulary is not None:
                least, most = int(named["inputs"].min()), int(named["inputs"].max())
                _require(0 <= least <= most < data.vocabulary, f"{split} tokens lie in {least} .. {most}")
            low, high = int(named["target"].min()), int(named["target"].max())
            _require(-1 <= low <= high < data.classes, f"{split} targets lie in {low} .. {high}")
            _require(("view" in named) == (split != "train" or data.augment is None), f"view is wrong in {split}")


def check_description(data: DataModule) -> None:
    """Shape, classes, names and baseline belong together."""
    data.setup()
    _require(data.baseline.shape == data.shape, f"baseline {tuple(data.baseline.shape)}, inputs {data.shape}")
    _require(bool(data.baseline.isfinite().all()), "the baseline is not finite")
    _require(len(data.class_names) == len(set(data.class_names)) == data.classes, f"class_names {data.class_names}")
    if data.feature_names is not None:
        # Of a table's columns, or of channels.
        named = len(set(data.feature_names))
        _require(named == data.shape[0], f"{named} different feature_names for inputs of shape {data.shape}")


def check_identities(data: DataModule) -> None:
    """Each sample has one index; validation and test yield each sample once; every training batch is whole."""
    data.setup()
    everything = torch.cat([data.splits[split]["index"] for split in SPLITS])
    _require(
        torch.equal(everything.sort().values, torch.arange(len(everything))), "indices are not 0 .. N - 1, each once"
    )
    for split in ("val", "test"):
        seen = torch.cat([batch["index"] for batch in _loaders(data)[split]])
        _require(torch.equal(seen.sort().values, data.splits[split]["index"].sort().values), f"{split} loses samples")
    train = data.train_dataloader()
    batches = [batch["index"] for batch in train]
    _require(len(batches) == len(train), f"{len(batches)} training batches, but the loader's length is {len(train)}")
    _require({len(batch) for batch in batches} == {data.batch_size}, "a training batch is not whole")
    _require(
        set(torch.cat(batches).tolist()) <= set(data.splits["train"]["index"].tolist()), "train has foreign samples"
    )


def check_order(data: DataModule) -> None:
    """The order follows from seed and epoch alone, and a loaded state continues with the very same batches."""
    data.setup()
    first = _epoch(data.arranged(seed=1).train_dataloader(), epoch=2)
    torch.manual_seed(99)
    _require(_same(first, _epoch(data.arranged(seed=1).train_dataloader(), epoch=2)), "the order is not repeated")
    _require(not _same(first, _epoch(data.arranged(seed=1).train_dataloader(), epoch=3)), "two epochs have one order")
    _require(not _same(first, _epoch(data.arranged(seed=2).train_dataloader(), epoch=2)), "two seeds have one order")
    served = len(first) // 2
    interrupted = data.arranged(seed=1).train_dataloader()
    interrupted.set_epoch(2)
    iterator = iter(interrupted)
    for _ in range(served):
        next(iterator)
    resumed = data.arranged(seed=1).train_dataloader()
    resumed.load_state_dict(copy.deepcopy(interrupted.state_dict()))
    _require(_same(first[served:], _epoch(resumed, epoch=2)), "a resumed epoch does not continue where it was")


def check_labelled(data: DataModule, labelled: int) -> None:
    """A labelled subset keeps so many targets, is repeated by its seed, and costs no training step."""
    data.setup()
    target = data.arranged(seed=1, labelled=labelled).splits["train"]["target"]
    _require(int((target >= 0).sum()) == labelled, f"{int((target >= 0).sum())} targets are left of {labelled}")
    again = data.arranged(seed=1, labelled=labelled, transfer=False)
    _require(torch.equal(target, again.splits["train"]["target"]), "the subset is not repeated")
    batches = list(again.train_dataloader())
    _require(len(batches) == len(data.train_dataloader()), "without transfer set an epoch has another number of steps")
    _require(all((batch["target"] >= 0).all() for batch in batches), "a batch holds an unlabelled sample")
    whole = data.arranged(seed=1).splits["train"]["target"]
    _require(torch.equal(data.splits["train"]["target"], whole), "arranging a copy changed the data themselves")


def check_repeatable(data: DataModule, again: DataModule) -> None:
    """Two data modules of equal arguments hold equal data, and the probe is a fixed part of validation."""
    _require(data.content_hash() == again.content_hash(), "the data differ from one loading to the next")
    probe = data.probe(16)
    _require(set(probe["index"].tolist()) <= set(data.splits["val"]["index"].tolist()), "the probe is no part of val")
    _require(torch.equal(probe["index"], again.arranged(seed=5).probe(16)["index"]), "the probe changes")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _loaders(data: DataModule) -> dict[str, TensorLoader]:
    return {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}


def _epoch(loader: ShuffledLoader, epoch: int) -> list[dict[str, Tensor]]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def _same(some: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> bool:
    return len(some) == len(others) and all(
        first.keys() == other.keys() and all(torch.equal(first[name], other[name]) for name in first)
        for first, other in zip(some, others, strict=True)
    )
