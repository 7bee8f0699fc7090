"""Putting a tree of questions over all features into few words, and how well that follows it."""

import torch
from torch import Tensor

from kdlab.explainers.hard_tree import HardTree
from kdlab.explainers.written_tree import Question, WrittenTree

# Features a question may have in the text, and the agreement that the text is to reach with as few as possible.
MOST = 12
WANTED = 0.95
# Shares of its samples that a question in few words has to answer as the whole one; the first that does is taken.
LEVELS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)
# Digits of each number in the text.
DIGITS = 4


def written(tree: HardTree, inputs: Tensor, decided: Tensor) -> WrittenTree:
    """Return the tree in few words: each question with the fewest features that keep what is decided.

    A question's features are chosen one after the other, each the one that best completes the least-squares fit of
    the question's (squashed) sum over the samples that are asked it; then the bound is put where most samples are
    answered as by the whole question. Each question takes the first number of features, 12 at most, whose answers agree
    on a share of samples; that share is raised until the tree's classes agree on 95 % of all samples. What all samples
    answer alike is not asked.

    Args:
        tree: With all features in every question.
        inputs: (samples, features), prepared, at least 1; those that the agreement is measured on.
        decided: (samples,), the classes to be kept.

    Returns:
        The tree that reaches the agreement, or else the one that agrees most.
    """
    path, gates = tree.path(inputs), tree.gates(inputs)
    values = tree.reading.undone(inputs.reshape(-1, *tree.reading.mean.shape)).flatten(1).double()
    straight, choices = {}, {}
    for node in range(len(tree.weight)):
        rows = (path == node).any(dim=1).nonzero().flatten()
        yes = gates[rows, node] > 0
        if bool(yes.all()) or not bool(yes.any()):
            # Of a node that nobody comes to, no is as good an answer as any.
            straight[node] = bool(yes.any())
        else:
            choices[node] = _choices(inputs[rows], values[rows], gates[rows, node])
    best, best_agreement = tree.in_full(), -1.0
    for level in LEVELS:
        candidate = tree.written({node: _first(offered, level) for node, offered in choices.items()}, straight)
        agreement = float((candidate.predict(values) == decided).double().mean())
        if agreement > best_agreement:
            best, best_agreement = candidate, agreement
        if agreement >= WANTED:
            break
    return best


def _first(offered: list[tuple[Question, float]], level: float) -> Question:
    """Return the shortest question that is as good as the level, or the best one."""
    best = max(agreement for _, agreement in offered)
    return next(question for question, agreement in offered if agreement >= min(level, best))


def _choices(inputs: Tensor, values: Tensor, gates: Tensor) -> list[tuple[Question, float]]:
    """Return questions of 1, 2, ... features, and the share of the samples on which each answers as the gate."""
    yes = gates > 0
    answers = (gates.double() / gates.double().abs().median().clamp_min(1e-12)).tanh()
    table = (inputs - inputs.mean(dim=0)).double()
    scale = table.square().mean(dim=0).sqrt()
    # A feature that is the same for all of them cannot tell them apart.
    table = torch.where(scale > 1e-6, table / scale.clamp_min(1e-6), 0.0)
    spread = values.std(dim=0, correction=0)
    chosen: list[int] = []
    offered = []
    rest = answers - answers.mean()
    for _ in range(min(MOST, int((scale > 1e-6).sum()))):
        gain = (table.T @ rest).abs()
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        part = table[:, chosen]
        weights = torch.linalg.lstsq(part, (answers - answers.mean())[:, None], driver="gelsd").solution[:, 0]
        rest = answers - answers.mean() - part @ weights
        own = weights / spread[chosen]
        bound, width = _bound(values[:, chosen] @ own, yes)
        question = Question.of(chosen, own, bound, DIGITS, width)
        offered.append((question, float((question.answers(values) == yes).double().mean())))
    return offered


def _bound(sums: Tensor, yes: Tensor) -> tuple[float, float]:
    """Return the bound over which most samples are answered right, midway between two sums, and the sums' spread."""
    ordered, order = sums.sort()
    said = yes[order].double()
    # Right are the no up to a place and the yes behind it.
    right = (1 - said).cumsum(0) + said.sum() - said.cumsum(0)
    # Between equal sums there is no place for a bound.
    right[:-1][ordered.diff() <= 0] = -1.0
    place = int(right[:-1].argmax()) if len(right) > 1 else 0
    after = ordered[min(place + 1, len(ordered) - 1)]
    return float((ordered[place] + after) / 2), float(sums.std(correction=0))


def agreement(tree: WrittenTree, decided: Tensor, values: Tensor) -> float:
    """Return the share of samples, values (batch, features) in their own units, led to the class decided (batch,)."""
    return float((tree.predict(values) == decided).double().mean())
