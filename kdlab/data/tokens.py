"""From texts to the numbers of tokens: vocabularies that are trained, and one that somebody else has trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from kdlab.data.paths import resolved

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

#: What a trained vocabulary begins with: its numbers 0 and 1.
PADDING, UNKNOWN = "[PAD]", "[UNK]"
#: The first token of a file must be padding, which has many spellings: [PAD], <pad>, <|padding|> …
PADDING_SIGN = "pad"


class Tokenization(Protocol):
    """Anything that makes a tokenizer of the package tokenizers; its token 0 is padding."""

    def tokenizer(self, texts: Sequence[str]) -> "Tokenizer":
        """Return the tokenizer; what it learns it learns from these texts of training rows, in their order."""
        ...


class WordLevel:
    """A token is a word, or a run of signs between words; words that are rare in training are one token ``[UNK]``.

    Args:
        size: Most tokens, ``[PAD]`` and ``[UNK]`` among them; the most frequent words stay. >= 3.
        min_count: How often a word stands in the training rows at least. At 1 no training text has an ``[UNK]``, so
            that nothing is learned of the unknown words of other texts. >= 1.
        lowercase: Whether capital letters count as small ones.

    Raises:
        ValueError: If the size or the count is too small.
    """

    def __init__(self, size: int = 10_000, min_count: int = 2, lowercase: bool = True) -> None:
        _check_size(size)
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        self.size = size
        self.min_count = min_count
        self.lowercase = lowercase

    def tokenizer(self, texts: Sequence[str]) -> "Tokenizer":
        """Return a tokenizer of the texts' most frequent words."""
        package = _package()
        tokenizer: Tokenizer = package.Tokenizer(package.models.WordLevel(unk_token=UNKNOWN))
        tokenizer.normalizer = _normalizer(package, self.lowercase)
        tokenizer.pre_tokenizer = package.pre_tokenizers.Whitespace()
        trainer = package.trainers.WordLevelTrainer(
            vocab_size=self.size,
            min_frequency=self.min_count,
            special_tokens=[PADDING, UNKNOWN],
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer


class BytePairEncoding:
    """A token is a frequent part of a word, the longest a whole one; a character never seen in training is ``[UNK]``.

    Words are cut into characters, and the most frequent pair of neighbours is made one token, again and again
    (Sennrich et al. 2016, section 3.2, https://arxiv.org/abs/1508.07909). ``▁`` stands before the first part of a word.

    Args:
        size: Most tokens, ``[PAD]`` and ``[UNK]`` among them; all characters of the training rows stay. >= 3.
        lowercase: Whether capital letters count as small ones.

    Raises:
        ValueError: If the size is too small.
    """

    def __init__(self, size: int = 4_000, lowercase: bool = True) -> None:
        _check_size(size)
        self.size = size
        self.lowercase = lowercase

    def tokenizer(self, texts: Sequence[str]) -> "Tokenizer":
        """Return a tokenizer of the pairs that are most frequent in the texts."""
        package = _package()
        tokenizer: Tokenizer = package.Tokenizer(package.models.BPE(unk_token=UNKNOWN))
        tokenizer.normalizer = _normalizer(package, self.lowercase)
        tokenizer.pre_tokenizer = package.pre_tokenizers.Sequence(
            [package.pre_tokenizers.Metaspace(), package.pre_tokenizers.Punctuation()]
        )
        # WordPiece's trainer of the same package numbers its parts in another order in each process.
        trainer = package.trainers.BpeTrainer(
            vocab_size=self.size, special_tokens=[PADDING, UNKNOWN], show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer


class TokenizerFile:
    """A tokenizer that exists, such as a pretrained network's; it learns nothing from the texts.

    What it puts around a text (``[CLS]``, ``[SEP]``) stands there too, and counts for the length.

    Args:
        path: A ``tokenizer.json`` of Hugging Face; ``~`` and ``${VARIABLE}`` are expanded. Its token 0 is padding.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def tokenizer(self, texts: Sequence[str]) -> "Tokenizer":
        """Return the file's tokenizer.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it holds no tokenizer, or its token 0 is not padding.
        """
        package, path = _package(), resolved(self.path)
        try:
            tokenizer: Tokenizer = package.Tokenizer.from_buffer(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is no tokenizer.json of Hugging Face: {' '.join(str(error).split())}") from error
        first = tokenizer.id_to_token(0)
        if first is None or PADDING_SIGN not in first.lower():
            raise ValueError(
                f"{path}: token 0 is {first!r}, and texts are padded with 0; take a tokenizer whose token 0 is its"
                " padding, such as BERT's, or WordLevel or BytePairEncoding, which are trained on the training rows"
            )
        tokenizer.no_padding()
        return tokenizer


@dataclass(frozen=True)
class TokenNumbers:
    """Texts as token numbers.

    Args:
        inputs: (texts, length), int64, 0 after the last token.
        cut: Which texts have more tokens than stand there.
    """

    inputs: Tensor
    cut: list[int]

    @property
    def empty(self) -> list[int]:
        """Which texts have no token, ascending."""
        rows: list[int] = (self.inputs == 0).all(1).nonzero().flatten().tolist()
        return rows


def encoded(tokenizer: "Tokenizer", texts: Sequence[str], length: int) -> TokenNumbers:
    """Return the texts' tokens, the first ``length`` of each; what stands around a text is never cut.

    Raises:
        ValueError: If the length has no room for a token beside those that the tokenizer puts around a text.
    """
    around = tokenizer.num_special_tokens_to_add(is_pair=False)
    if length <= around:
        raise ValueError(f"length {length} has no room for a token: the tokenizer puts {around} around each text")
    tokenizer.enable_truncation(length)
    inputs, cut = torch.zeros(len(texts), length, dtype=torch.int64), []
    for row, encoding in enumerate(tokenizer.encode_batch(list(texts))):
        inputs[row, : len(encoding.ids)] = torch.tensor(encoding.ids, dtype=torch.int64)
        if encoding.overflowing:
            cut.append(row)
    return TokenNumbers(inputs, cut)


def texts_of(tokenizer: "Tokenizer") -> list[str]:
    """Return what each token of the vocabulary says, in the order of their numbers; a number without token is empty."""
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    texts = [""] * (max(numbers.values()) + 1)
    for text, number in numbers.items():
        texts[number] = text
    return texts


def _check_size(size: int) -> None:
    if size < 3:
        raise ValueError(f"size must be at least 3, {PADDING}, {UNKNOWN} and a token, got {size}")


def _package() -> ModuleType:
    try:
        return import_module("tokenizers")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "tokenizers":
            raise
        raise ModuleNotFoundError("Text needs the package tokenizers: pip install 'kdlab[text]'") from error


def _normalizer(package: ModuleType, lowercase: bool) -> "Normalizer":
    """One form of each character, no control characters, and Chinese characters as words of their own."""
    steps = [package.normalizers.NFC(), package.normalizers.BertNormalizer(strip_accents=False, lowercase=lowercase)]
    normalizer: Normalizer = package.normalizers.Sequence(steps)
    return normalizer
