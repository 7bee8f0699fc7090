"""Free text in a table, and the block that reads it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from kdlab.commands.look import block, proof
from kdlab.data.tabular.columns import Column, LevelColumn
from kdlab.data.tabular.suspicions import identity
from kdlab.data.text import Text
from kdlab.errors import listing

WORD = re.compile(r"[^\W\d_]{2,}")
#: Fewer words in a row on average are names, codes and categories.
FEWEST_WORDS = 3
#: Different texts that are looked at.
FIRST_TEXTS = 1000
#: Lengths that are proposed are multiples of the first, up to the second, and leave so many of the texts whole.
STEP, LONGEST, WHOLE = 16, 512, 0.99


def free_text(inputs: Mapping[str, Column]) -> LevelColumn | None:
    """Return the column of the most words a row, where one is free text and no column holds numbers or dates."""
    levels = [column for column in inputs.values() if isinstance(column, LevelColumn)]
    if len(levels) < len(inputs):
        return None
    wordy = [column for column in levels if identity(column) is not None and _words(column) >= FEWEST_WORDS]
    return max(wordy, key=_words, default=None)


def described(text: LevelColumn, inputs: Mapping[str, Column]) -> str:
    """Return what the text is like, and which columns are not read beside it."""
    others = [name for name in inputs if name != text.name]
    beside = f"; not read beside it: {listing(others)}" if others else ""
    return f"column {text.name!r} is free text of {_words(text):.0f} words a row{beside}"


def text_block(text: str, arguments: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield comments on what the block holds once it is read, and the block, whose length suits the texts.

    Raises:
        ValueError: If the texts cannot be read.
        ModuleNotFoundError: If the package tokenizers is missing.
    """
    arguments = {"path": arguments["path"], "text": text, **arguments}
    whole = Text(**arguments, length=LONGEST)
    whole.setup()
    tokens = torch.cat([(tensors["inputs"] != 0).sum(1) for tensors in whole.splits.values()])
    needed = int(tokens.double().quantile(WHOLE, interpolation="higher"))
    arguments["length"] = -(-needed // STEP) * STEP
    yield from proof(Text(**arguments), name)
    yield block("Text", arguments)


def _words(column: LevelColumn) -> float:
    texts = column.levels[:: max(1, len(column.levels) // FIRST_TEXTS)]
    return sum(len(WORD.findall(text)) for text in texts) / len(texts)
