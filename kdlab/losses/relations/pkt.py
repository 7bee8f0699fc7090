"""Which samples are neighbours, as a distribution."""

from torch import Tensor, nn

from kdlab.losses.numerics import Features, length
from kdlab.losses.relations.embeddings import related


class PKT(nn.Module):
    """Divergence between the samples' similarities, each row a distribution: nats / batch, lower is better, minimum 0.

    ``mean_ij p_t * log((p_t + e) / (p_s + e))`` with p the rows of ``(cos + 1) / 2`` of flattened layers divided by
    their sums, summed over the layer pairs. The mean over batch^2 makes it 1 / batch of the rows' mean divergence.
    Passalis & Tefas 2018, with the cosine kernel, https://arxiv.org/abs/1803.10837. The batch is that of all
    processes. Usual weight: 30000.

    Args:
        epsilon: e, added to the probabilities and to the vectors' lengths, > 0.

    Raises:
        ValueError: If epsilon is not positive, or, when called, if the batches differ, also between processes.
    """

    def __init__(self, epsilon: float = 1e-7) -> None:
        super().__init__()
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.epsilon = epsilon

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, ...), whose widths may differ."""
        return related(features, teacher_features, self.divergence)

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the value of one pair of embeddings (batch, width)."""
        ours, theirs = self.neighbours(student), self.neighbours(teacher)
        return (theirs * ((theirs + self.epsilon).log() - (ours + self.epsilon).log())).mean()

    def neighbours(self, vectors: Tensor) -> Tensor:
        """Return probabilities (batch, batch), each row of sum 1."""
        directions = vectors / (length(vectors) + self.epsilon)
        similarity = ((directions @ directions.T + 1) / 2).clamp(min=0)
        return similarity / similarity.sum(1, keepdim=True)
