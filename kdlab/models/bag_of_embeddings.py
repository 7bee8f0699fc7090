"""A linear model on the mean of a text's token vectors."""

import torch
from torch import Tensor, nn

PADDING = 0


class BagOfEmbeddings(nn.Module):
    """A vector for each token, their mean, and a linear layer; the order of tokens does not count.

    Joulin et al. 2017, section 2, https://arxiv.org/abs/1607.01759 (fastText), with the softmax over all classes. Takes
    token numbers (batch, length), as integers or as whole floating point numbers, and returns logits (batch, classes).
    Token 0 is padding and is not counted; a text of nothing else has the mean 0. Layers are named: ``embedding``, whose
    output is (batch, length, width), ``mean`` (batch, width), ``head``. Vectors start uniform in [-1 / width, 1 /
    width], as in the authors' code.

    Args:
        vocabulary: How many tokens there are, padding included: numbers are 0 to vocabulary - 1.
        classes: Number of logits.
        width: Size of a vector; 10 in the paper.

    Raises:
        ValueError: If a size is not positive, or the vocabulary has no token besides padding.
    """

    def __init__(self, vocabulary: int, classes: int, width: int = 10) -> None:
        super().__init__()
        if vocabulary < 2 or min(classes, width) < 1:
            raise ValueError(
                f"sizes must be positive and vocabulary at least 2 (token 0 is padding), got vocabulary={vocabulary},"
                f" classes={classes}, width={width}"
            )
        self.embedding = nn.Embedding(vocabulary, width)
        self.mean = _MeanOfTokens()
        self.head = nn.Linear(width, classes)
        with torch.no_grad():
            self.embedding.weight.uniform_(-1 / width, 1 / width)
            self.embedding.weight[PADDING] = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of token numbers (batch, length).

        Raises:
            ValueError: If the inputs have another number of dimensions, are no whole numbers, or none of the
                vocabulary's.
        """
        tokens = as_tokens(inputs, self.embedding.num_embeddings)
        logits: Tensor = self.head(self.mean(self.embedding(tokens), tokens != PADDING))
        return logits


class _MeanOfTokens(nn.Module):
    """The mean over those tokens that count."""

    def forward(self, vectors: Tensor, counted: Tensor) -> Tensor:
        """Return (batch, width) of vectors (batch, length, width) and truth values (batch, length)."""
        weights = counted.unsqueeze(2).to(vectors.dtype)
        return (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def as_tokens(inputs: Tensor, vocabulary: int) -> Tensor:
    """Return token numbers as int64.

    Args:
        inputs: (batch, length), integers or whole floating point numbers.
        vocabulary: How many tokens there are.

    Raises:
        ValueError: If a value is no whole number from 0 to vocabulary - 1, or a floating point type could not hold
            them all. The values themselves are not looked at while the model is compiled or exported.
    """
    if inputs.dim() != 2:
        raise ValueError(f"token numbers must be of shape (batch, length), got {tuple(inputs.shape)}")
    if inputs.is_floating_point() and vocabulary - 1 > (most := round(2 / torch.finfo(inputs.dtype).eps)):
        raise ValueError(
            f"inputs of type {inputs.dtype} hold whole numbers up to {most}, vocabulary is {vocabulary}: token numbers"
            " must be float32 or integers, as with precision 32-true or bf16-mixed"
        )
    tokens = inputs.long()
    if not torch.compiler.is_compiling():
        wrong = inputs[(tokens != inputs) | (tokens < 0) | (tokens >= vocabulary)]
        if len(wrong):
            raise ValueError(
                f"token numbers must be whole, from 0 to {vocabulary - 1} (vocabulary {vocabulary}), got"
                f" {wrong[0].item():g} and {len(wrong) - 1} more such values"
            )
    return tokens
