"""Contrastive representation distillation."""

import torch
from torch import Tensor, nn

from kdlab.losses.gather import gathered, own_rows
from kdlab.losses.numerics import Features, as_list, full_precision, paired, through, unit


class CRD(nn.Module):
    """Noise-contrastive loss that tells a sample's other view among those of other samples: nats, lower is better.

    ``-mean_b [log h(b, b) + sum_k log(1 - h(b, n_k))]`` for student against remembered teacher and for teacher
    against remembered student, with ``h = g / (g + K / N + 1e-7)``, ``g(i, j) = exp(u_i . v_j / T) / Z`` of unit
    embeddings u and v, N samples, K negatives n_k drawn evenly from the other samples, and Z the mean of N * exp(...)
    over the first batch, fixed since. Not zero for a perfect student. Tian et al. 2020, the contrastive objective,
    https://arxiv.org/abs/1910.10699. The embeddings are linear maps of the flattened last layer, made by ``prepare``,
    trained with the student and not exported; the memories of N unit vectors a side are saved with them and follow
    training batches alone, those of all processes. Negatives come from (seed, number of batches seen). Usual weight:
    0.8.

    Args:
        samples: N, how many training samples there are; every ``index`` is below it.
        negatives: K.
        width: Of the embeddings.
        temperature: T, no unit, > 0.
        momentum: Share of the old vector in a memory's update, in [0, 1).
        seed: Of the negatives and the first memory.

    Raises:
        ValueError: If an argument is out of range, or, when called, if an index is not below ``samples``.
        RuntimeError: When called before ``prepare``.
    """

    scale: Tensor
    seen: Tensor
    memory: Tensor
    teacher_memory: Tensor

    def __init__(
        self,
        samples: int,
        negatives: int = 16384,
        width: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if samples < 2 or negatives < 1 or width < 1:
            raise ValueError(f"need samples > 1, negatives > 0, width > 0, got {samples}, {negatives}, {width}")
        if not temperature > 0 or not 0 <= momentum < 1:
            raise ValueError(f"need temperature > 0 and momentum in [0, 1), got {temperature} and {momentum}")
        self.samples = samples
        self.negatives = negatives
        self.width = width
        self.temperature = temperature
        self.momentum = momentum
        self.seed = seed
        self.embed: nn.Module = nn.Identity()
        self.teacher_embed: nn.Module = nn.Identity()
        generator = torch.Generator().manual_seed(seed)
        for name in ("memory", "teacher_memory"):
            self.register_buffer(name, unit(torch.randn(samples, width, generator=generator)))
        self.register_buffer("scale", torch.zeros(2))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def prepare(self, features: Features, teacher_features: Features) -> None:
        """Make the embeddings of the last layers (batch, ...)."""
        student, teacher = as_list(features)[-1].flatten(1), as_list(teacher_features)[-1].flatten(1)
        self.embed = nn.Linear(student.shape[1], self.width, device=student.device, dtype=student.dtype)
        self.teacher_embed = nn.Linear(teacher.shape[1], self.width, device=student.device, dtype=student.dtype)
        self.to(student.device)

    def forward(self, features: Features, teacher_features: Features, index: Tensor) -> Tensor:
        """Return a scalar from layers (batch, ...), of which the last counts, and the samples' index (batch,)."""
        if isinstance(self.embed, nn.Identity):
            raise RuntimeError("CRD has no embeddings yet; call prepare first")
        ours, theirs = paired(as_list(features)[-1:], as_list(teacher_features)[-1:])[0]
        student = unit(through(self.embed, ours.flatten(1)))
        teacher = unit(through(self.teacher_embed, theirs.flatten(1)))
        if int(index.max()) >= self.samples or int(index.min()) < 0:
            raise ValueError(f"index {int(index.max())} is not below the {self.samples} samples that CRD remembers")
        value = self.contrast(student, teacher, self.candidates(index))
        if self.training:
            self.remember(student.detach(), teacher.detach(), index)
        return value

    def candidates(self, index: Tensor) -> Tensor:
        """Return (batch, 1 + negatives) sample numbers: each sample's own first, then others."""
        whole = gathered(index)[0]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.seen))
        others = torch.randint(self.samples - 1, (len(whole), self.negatives), generator=generator)
        own = index[:, None]
        mine = others[own_rows(len(index))].to(index.device)
        return torch.cat([own, mine + (mine >= own)], dim=1)

    def contrast(self, student: Tensor, teacher: Tensor, candidates: Tensor) -> Tensor:
        """Return the loss of unit embeddings (batch, width) against remembered candidates (batch, 1 + negatives)."""
        with full_precision(student):  # all samples are scored, as copies of the candidates would take width times more
            scores = [
                (own @ memory.to(own.dtype, copy=True).T).gather(1, candidates) / self.temperature
                for memory, own in ((self.teacher_memory, student), (self.memory, teacher))
            ]
        scale = self.scale
        if not bool(scale.any()):
            scale = torch.stack([self.normaliser(score.detach()) for score in scores])
            if self.training:
                self.scale.copy_(scale)
        return self.cost(scores[0].exp() / scale[0]) + self.cost(scores[1].exp() / scale[1])

    def normaliser(self, scores: Tensor) -> Tensor:
        """Return Z, so that g is 1 / N on average over the batch of all processes."""
        return torch.stack(gathered(scores.exp().mean()[None])).mean() * self.samples

    def cost(self, likelihoods: Tensor) -> Tensor:
        """Return the mean over the batch of one direction's loss, from g (batch, 1 + negatives)."""
        noise = (likelihoods.shape[1] - 1) / self.samples
        positive = (likelihoods[:, 0] / (likelihoods[:, 0] + noise + 1e-7)).log().sum()
        negative = (noise / (likelihoods[:, 1:] + noise + 1e-7)).log().sum()
        return -(positive + negative) / len(likelihoods)

    @torch.no_grad()
    def remember(self, student: Tensor, teacher: Tensor, index: Tensor) -> None:
        """Move the memories towards the embeddings of this batch, in all processes alike."""
        student, teacher, index = gathered(student, teacher, index)
        for memory, latest in ((self.memory, student), (self.teacher_memory, teacher)):
            mixed = self.momentum * memory[index] + (1 - self.momentum) * latest.to(memory.dtype)
            memory[index] = unit(mixed)
        self.seen += 1
