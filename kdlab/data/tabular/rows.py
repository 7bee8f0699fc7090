"""Which rows of a table are for training, validation and test."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_order, stratified_parts

SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
Fractions = tuple[float, float, float]


def drawn(target: Tensor, fractions: Fractions, seed: int, groups: Tensor | None) -> dict[str, Tensor]:
    """Return rows of the three splits, stratified by class; groups stay whole where there are any."""
    parts = parts_of(target, sizes_of(len(target), fractions), seed, groups)
    return dict(zip(("train", "val", "test"), parts, strict=True))


def validation_from(
    rows: Tensor, target: Tensor, fractions: Fractions, seed: int, groups: Tensor | None
) -> dict[str, Tensor]:
    """Return these rows as training and validation, in the proportion of their fractions."""
    train, val, _ = fractions
    sizes = sizes_of(len(rows), (train / (train + val), val / (train + val)))
    first, second = parts_of(target[rows], sizes, seed, None if groups is None else groups[rows])
    return {"train": rows[first], "val": rows[second]}


def completed(
    said: dict[str, Tensor], target: Tensor, fractions: Fractions, seed: int, groups: Tensor | None
) -> dict[str, Tensor]:
    """Return the rows of the three splits: those that are said, ``val`` drawn from train, or all of them drawn."""
    rows = said or drawn(target, fractions, seed, groups)
    return rows if len(rows.get("val", ())) else rows | validation_from(rows["train"], target, fractions, seed, groups)


def named(called: str, words: Sequence[str]) -> dict[str, Tensor]:
    """Return the rows of the splits that words name; ``val`` may have none.

    Args:
        called: What a message calls the words: ``column 'part'``.
        words: Of each row.

    Raises:
        ValueError: If it says something else, or names no row for training or test.
    """
    unknown = sorted({word for word in set(words) if word.lower() not in SPLIT_WORDS})
    if unknown:
        raise ValueError(f"{called} says {unknown[:5]}; it may say train, val and test")
    splits = [SPLIT_WORDS[word.lower()] for word in words]
    rows = {
        split: torch.tensor([row for row, word in enumerate(splits) if word == split], dtype=torch.int64)
        for split in ("train", "val", "test")
    }
    for split in ("train", "test"):
        if not len(rows[split]):
            raise ValueError(f"{called} names no row {split}")
    return rows


def parts_of(target: Tensor, sizes: Sequence[int], seed: int, groups: Tensor | None) -> list[Tensor]:
    """Return parts of about these sizes, stratified; a group is in one of them.

    Groups are drawn stratified by their most frequent class, and each goes to the part in which its middle lies.

    Raises:
        ValueError: If a part would be empty.
    """
    draw = generator_at("split", seed)
    if groups is None:
        return stratified_parts(target, sizes, draw)
    _, labels, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    classes = int(target.max()) + 1
    votes = (labels * classes + target).bincount(minlength=len(counts) * classes).view(-1, classes)
    order = stratified_order(votes.argmax(1), draw)
    middles = counts[order].cumsum(0) - counts[order] / 2
    ends = torch.tensor(sizes).cumsum(0)[:-1]
    part_of_group = torch.empty(len(counts), dtype=torch.int64)
    part_of_group[order] = torch.bucketize(middles, ends.double())
    parts = [(part_of_group[labels] == part).nonzero().flatten() for part in range(len(sizes))]
    if not all(len(part) for part in parts):
        raise ValueError(f"{len(counts)} groups in {len(target)} rows are too few or too large for {len(sizes)} splits")
    return parts


def refuse_shared_groups(called: str, names: Sequence[str], groups: Tensor, rows: dict[str, Tensor]) -> None:
    """Refuse a group of which different splits have rows.

    Raises:
        ValueError: If there is one.
    """
    first: dict[int, str] = {}
    for split, chosen in rows.items():
        for group in torch.unique(groups[chosen]).tolist():
            if first.setdefault(group, split) != split:
                raise ValueError(
                    f"{names[group]!r} of {called} has rows in {first[group]} and in {split}; a group is in"
                    " one split: leave out group, or what says the splits"
                )


def limited(rows: dict[str, Tensor], target: Tensor, limit: int, seed: int) -> dict[str, Tensor]:
    """Return so many rows in all, each split and class in its proportion, at least one row a split."""
    share = limit / sum(len(chosen) for chosen in rows.values())
    if share >= 1:
        return rows
    kept = {}
    for split, chosen in rows.items():
        order = stratified_order(target[chosen], generator_at("limit", split, seed))
        kept[split] = chosen[order[: max(1, round(share * len(chosen)))]].sort().values
    return kept
