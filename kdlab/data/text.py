"""Anybody's texts and their classes, in a CSV, Parquet or JSON Lines file, as the numbers of tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.splitting import take
from kdlab.data.tabular.cells import Cells, TableFormat, read_cells
from kdlab.data.tabular.row_splits import RowSplits, names_of
from kdlab.data.tabular.target import class_numbers
from kdlab.data.tokens import BytePairEncoding, Tokenization, TokenNumbers, encoded, texts_of


class Text(DataModule):
    """A table with a column of texts: CSV with a header, Parquet, or JSON Lines (``.jsonl``, ``.ndjson``).

    Inputs are (batch, length) int64: the numbers of a text's tokens, then 0 for padding; ``inputs != 0`` says which
    are tokens. The vocabulary is trained on training rows alone, or read from a file. ``vocabulary`` (its size) and
    ``length`` are handed to models that ask for them by these names; ``tokens`` are its tokens' texts by number, and
    ``read_back`` says what inputs say. No other column is learned from.

    Token numbers have no gradient: of the explainers those that remove tokens can explain them, and gradients cannot.

    Args:
        path: The file; ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        text: The column of texts.
        target: The column to predict.
        length: Tokens of an input; longer texts are cut there, and ``remarks`` says how many. >= 1.
        tokenizer: How texts become tokens: ``BytePairEncoding``, ``WordLevel``, or ``TokenizerFile`` for one that
            exists.
        split: A column that says train, val (or validation) or test. Rows for val are drawn from train if it names
            none. None: all drawn at random, stratified, by ``split_seed``, unless other files are named.
        fractions: Train, val and test shares where rows are drawn.
        val_path: A file of the same columns that is the validation split; only beside ``test_path``.
        test_path: A file of the same columns that is the test split. Rows for val are drawn from train if no file is.
        group: A column that says whom a row belongs to (an author, a thread): never in two splits.
        row_id: A column that names the rows, no two alike.
        limit: If given, only so many rows are kept (stratified, over all splits), for small runs.
        delimiter: What separates the cells. None: told from the file.
        encoding: Of the text, such as ``latin-1``. None: told from the file.
        missing: What a missing text or label says, besides nothing, in small or capital letters.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.

    Raises:
        ValueError: In the constructor for fractions that do not add up to 1, a length or limit that is too small, or
            two arguments that both say the splits. In ``setup`` with file and line, for a column that does not exist,
            a missing text or label, a text without a token, one class, or a class that no training row has.
        FileNotFoundError: In ``setup``, if a file is not there.
        ModuleNotFoundError: In ``setup``, if the package tokenizers is missing.
    """

    def __init__(
        self,
        path: str,
        text: str,
        target: str,
        length: int = 128,
        tokenizer: Tokenization | None = None,
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        val_path: str | None = None,
        test_path: str | None = None,
        group: str | None = None,
        row_id: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        missing: Sequence[str] = (),
        batch_size: int = 64,
        split_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split_seed)
        if split is not None and test_path is not None:
            raise ValueError(
                f"split={split} and test_path={test_path} both say what the test rows are; give one of them"
            )
        if val_path is not None and test_path is None:
            raise ValueError(f"val_path={val_path} needs test_path beside it, the file of the test split")
        if length < 1 or (limit is not None and limit < 3):
            raise ValueError(f"length must be at least 1 and limit at least 3, got {length=}, {limit=}")
        self.paths = {"train": path}
        self.paths |= {name: other for name, other in (("val", val_path), ("test", test_path)) if other is not None}
        self.text = text
        self.target = target
        self.length = length
        self.tokenizer: Tokenization = BytePairEncoding() if tokenizer is None else tokenizer
        self.split = split
        self.group = group
        self.row_id = row_id
        self.tokens: list[str] = []
        self.rows = RowSplits(split, fractions, split_seed, group, limit, list(self.paths))
        self.form = TableFormat(delimiter, encoding, ".", missing=list(missing))

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read, split, train the vocabulary on the training rows, and look the tokens up."""
        named = {"text": self.text, "target": self.target, "split": self.split, "group": self.group}
        columns = {argument: column for argument, column in (named | {"row_id": self.row_id}).items() if column}
        cells = read_cells([resolved(path) for path in self.paths.values()], self.form, set(columns.values()))
        self.remarks = list(cells.remarks)
        cells.require({argument: [column] for argument, column in columns.items()})
        if self.text == self.target:
            raise ValueError(f"text and target are both column {self.text!r}; a text does not tell its own class")
        texts = cells.complete(self.text).to_pylist()
        target, self.class_names = class_numbers(cells, self.target)
        self._refuse_untrained(cells, target)
        rows, groups = self.rows(cells, target)
        self._say_what_is_known_already(texts, rows)
        inputs = self._encoded(cells, texts, rows)
        if self.row_id is not None:
            self.sample_names = names_of(cells, self.row_id, rows)
        tensors = {"inputs": inputs, "target": target, **groups}
        return {split: take(tensors, chosen) for split, chosen in rows.items()}

    def read_back(self, inputs: Tensor) -> list[list[str]]:
        """Return the texts of the tokens of inputs (batch, length), padding left out."""
        self.setup()
        return [[self.tokens[number] for number in row if number] for row in inputs.tolist()]

    def content_hash(self) -> str:
        """Return the SHA-256 of all that reaches a stage, the tokens of the vocabulary included."""
        return hashlib.sha256(json.dumps([super().content_hash(), self.tokens]).encode()).hexdigest()

    def _say_what_is_known_already(self, texts: Sequence[str], rows: dict[str, Tensor]) -> None:
        training_texts = {texts[row] for row in rows["train"].tolist()}
        count = sum(texts[row] in training_texts for row in rows["test"].tolist())
        if count:
            self.remarks.append(f"{count:,} of {len(rows['test']):,} test texts stand among the training rows, too")

    def _encoded(self, cells: Cells, texts: Sequence[str], rows: dict[str, Tensor]) -> Tensor:
        tokenizer = self.tokenizer.tokenizer([texts[row] for row in rows["train"].tolist()])
        self.tokens = texts_of(tokenizer)
        self.vocabulary = len(self.tokens)
        kept = torch.cat(list(rows.values())).sort().values.tolist()
        numbers = encoded(tokenizer, [texts[row] for row in kept], self.length)
        self._refuse_without_tokens(cells, texts, kept, numbers)
        if numbers.cut:
            longest = max((texts[kept[row]] for row in numbers.cut), key=len)
            self.remarks.append(
                f"{len(numbers.cut):,} of {len(kept):,} texts have more than {self.length} tokens and are cut there,"
                f" the longest of {len(longest):,} characters; length says where"
            )
        inputs = torch.zeros(cells.rows, self.length, dtype=torch.int64)
        inputs[kept] = numbers.inputs
        return inputs

    def _refuse_without_tokens(
        self, cells: Cells, texts: Sequence[str], kept: Sequence[int], numbers: TokenNumbers
    ) -> None:
        if numbers.empty:
            row = kept[numbers.empty[0]]
            raise ValueError(
                f"{cells.place(row)}: column {self.text!r} says {texts[row][:40]!r}, in which there is no token"
                f" ({len(numbers.empty)} such rows); fill or drop them"
            )

    def _refuse_untrained(self, cells: Cells, target: Tensor) -> None:
        """Refuse a class that no training row has, before a limit: most often it is a slip of the pen."""
        rows, _ = replace(self.rows, limit=None)(cells, target)
        counts = target[rows["train"]].bincount(minlength=len(self.class_names))
        untrained = (counts == 0).nonzero().flatten().tolist()
        if untrained:
            row = int((target == untrained[0]).nonzero()[0])
            raise ValueError(
                f"{cells.place(row)}: column {self.target!r} says {self.class_names[untrained[0]]!r}, which no training"
                f" row does ({len(untrained)} such classes); correct it, drop the row, or give training rows of it"
            )
