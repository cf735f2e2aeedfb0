"""Choosing among given answers: how likely the model finds each of them.

A choice is read as the decoder would write it from left to right: the probability of its first
token in a response of masks, of its second once the first stands there, and so on. These chances
multiply, so that a choice of many tokens is as likely as the model finds it, not as its length is.

Shape letters: B rows of the batch, N beginnings in one pass, R response positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, NonFiniteLogitsError
from ..outputs import SamplerOutput
from ..protocols import CacheablePredictor, MaskPredictor
from .checks import check_choice, check_integer
from .confidence import widen
from .starting import check_start

EVENTS = ("answer", "beginning")
Choice: TypeAlias = tuple[int, ...]
# Beginnings of a row that are computed in one pass, so that memory grows with the batch alone.
_BEGINNINGS = 8
# Logits are computed at that many positions of every row: products of fewer rows go through other
# kernels, and a row's result with the size of its batch.
_POSITIONS = 4
_END = -1  # what follows a whole answer, in place of a token
_UNLIKELY = -1e30  # in place of a logarithm of 0, of which a softmax makes no sense


@dataclass(frozen=True, slots=True)
class Chosen:
    """The result of :func:`choose_among`.

    Attributes:
        probabilities: of every row's choices, in their order; they sum to 1.
        best: the most likely choice of every row.
        output: with the tokens of that choice; its confidence is the mean probability of them.
    """

    probabilities: list[list[float]]
    best: list[int]
    output: SamplerOutput


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Tokens that stand in the response, and those whose probability comes next is wanted."""

    row: int
    tokens: Choice
    wanted: Choice


def choose_among(
    predictor: MaskPredictor,
    choices: Sequence[Sequence[Sequence[int]]],
    *,
    gen_length: int,
    end_token_ids: Collection[int],
    by: str = "answer",
) -> Chosen:
    """The probability of each of the given answers, relative to the others.

    Every beginning that some choices of a row share is computed once: choices of one token take
    one pass (``"beginning"``), and one more in all for their ends (``"answer"``).

    Args:
        predictor: the questions; B rows. Where it can select rows, several beginnings share a pass.
        choices: token ids of every row's choices.
        gen_length: response positions R that the model sees.
        end_token_ids: what ends an answer; each of them will do.
        by: ``"answer"``: the probability that a choice is the whole answer, its end included;
            ``"beginning"``: that the answer begins with it, for labels such as ``A`` of
            ``A. violin``.

    Raises:
        InvalidArgumentError: no choices, an empty one, equal ones, one that does not fit into
            ``gen_length`` or holds the mask or an end; by beginning, one that begins another.
        NonFiniteLogitsError: the predictor returned NaN.

    Example:
        >>> class Always:  # expects token 5, then the end
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         expected = torch.tensor([5, 6, 6, 6])
        ...         return 9 * torch.eye(8)[expected].expand(*x_t.shape, 8)
        >>> chosen = choose_among(Always(), [[[4], [5], [5, 5]]], gen_length=4, end_token_ids=[6])
        >>> chosen.best, [round(p, 3) for p in chosen.probabilities[0]]
        ([1], [0.0, 1.0, 0.0])
    """
    check_choice("by", by, EVENTS)
    check_integer("gen_length", gen_length)
    ends = sorted(set(end_token_ids))
    if not ends:
        raise InvalidArgumentError("end_token_ids", "at least one id", ends)
    rows = [[tuple(choice) for choice in row] for row in choices]
    if len(rows) != predictor.batch_size:
        raise InvalidArgumentError("choices", f"{predictor.batch_size} rows of them", len(rows))
    reserved = {predictor.mask_token_id, *ends}
    for number, row in enumerate(rows):
        _check(f"choices[{number}]", row, gen_length, by, reserved)
    given = torch.tensor([token for row in rows for choice in row for token in choice])
    check_start(predictor, gen_length, given, "choices")
    beginnings = [each for number, row in enumerate(rows) for each in _beginnings(number, row, by)]
    chances: dict[tuple[int, Choice], float] = {}
    nfe = 0
    with torch.inference_mode():
        found = []
        for several in _passes(predictor, beginnings):
            found.append((several, _log_probabilities(predictor, several, gen_length, ends)))
            nfe += 1
    for several, values in found:
        for each, row in zip(several, values.tolist(), strict=True):
            for token, value in zip(each.wanted, row, strict=False):
                if math.isnan(value):
                    raise NonFiniteLogitsError(each.row, nfe)
                chances[each.row, (*each.tokens, token)] = max(value, _UNLIKELY)
    row_nfe = [sum(each.row == number for each in beginnings) for number in range(len(rows))]
    eos = predictor.eos_token_id
    tokens = torch.full((len(rows), gen_length), ends[0] if eos is None else eos)
    return _chosen(tokens.to(predictor.device), rows, chances, by, nfe, row_nfe)


def _check(
    name: str, row: Sequence[Choice], gen_length: int, by: str, reserved: Collection[int]
) -> None:
    if not row or not all(row):
        raise InvalidArgumentError(name, "at least one choice, none of them empty", list(row))
    if len(set(row)) < len(row):
        raise InvalidArgumentError(name, "choices with different tokens", list(row))
    for choice in row:
        if any(token < 0 or token in reserved for token in choice):
            raise InvalidArgumentError(name, "neither the mask nor an end token", list(choice))
    longest = max(map(len, row)) + (by == "answer")
    if longest > gen_length:
        expected = f"at most gen_length ({gen_length}) tokens each, the end included"
        raise InvalidArgumentError(name, expected, longest)
    if by == "beginning":
        for choice in row:
            if any(choice[:count] in row for count in range(1, len(choice))):
                expected = "choices none of which begins another, to compare beginnings"
                raise InvalidArgumentError(name, expected, list(row))


def _beginnings(number: int, row: Sequence[Choice], by: str) -> Iterator[_Beginning]:
    """Every beginning once, with what may follow it, in an order that the choices' does not tell.

    A choice of n tokens is reached through its first 0, ..., n - 1 tokens; and n for its end.
    """
    follows: dict[Choice, set[int]] = {}
    for choice in row:
        path = (*choice, _END) if by == "answer" else choice
        for count, token in enumerate(path):
            follows.setdefault(path[:count], set()).add(token)
    for tokens in sorted(follows, key=lambda tokens: (len(tokens), tokens)):
        yield _Beginning(number, tokens, tuple(sorted(follows[tokens])))


def _passes(
    predictor: MaskPredictor, beginnings: Sequence[_Beginning]
) -> Iterator[Sequence[_Beginning]]:
    """What is computed together: several of a row where rows can be selected, or one."""
    if isinstance(predictor, CacheablePredictor):
        size = _BEGINNINGS * predictor.batch_size
        for start in range(0, len(beginnings), size):
            yield beginnings[start : start + size]
        return
    waiting: dict[int, list[_Beginning]] = {}
    for each in beginnings:
        waiting.setdefault(each.row, []).append(each)
    while any(waiting.values()):
        yield [of_row.pop(0) for of_row in waiting.values() if of_row]


def _log_probabilities(
    predictor: MaskPredictor, beginnings: Sequence[_Beginning], length: int, ends: Sequence[int]
) -> Tensor:
    """``[N, W]`` log-probability of everything wanted behind each beginning, right-padded."""
    device = predictor.device
    rows = torch.tensor([each.row for each in beginnings])
    x_t = torch.full((len(beginnings), length), predictor.mask_token_id)
    for place, each in enumerate(beginnings):
        x_t[place, : len(each.tokens)] = torch.tensor(each.tokens, dtype=torch.long)
    at = torch.tensor([len(each.tokens) for each in beginnings])
    if isinstance(predictor, CacheablePredictor):
        positions = (at[:, None] + torch.arange(_POSITIONS)).clamp(max=length - 1)
        worker = predictor.select(rows.to(device))
        logits = worker(x_t.to(device), positions.to(device))[:, 0]
    else:  # a plain function of the whole batch
        whole = torch.full((predictor.batch_size, length), predictor.mask_token_id)
        whole[rows] = x_t
        logits = predictor(whole.to(device))[rows.to(device), at.to(device)]
    log_probs = widen(logits).log_softmax(-1)
    end = log_probs[:, list(ends)].logsumexp(-1)
    most = max(len(each.wanted) for each in beginnings)
    tokens = torch.full((len(beginnings), most), _END)
    for place, each in enumerate(beginnings):
        tokens[place, : len(each.wanted)] = torch.tensor(each.wanted)
    tokens = tokens.to(device)
    return torch.where(tokens == _END, end[:, None], log_probs.gather(-1, tokens.clamp(min=0)))


def _chosen(
    tokens: Tensor,
    rows: Sequence[Sequence[Choice]],
    chances: dict[tuple[int, Choice], float],
    by: str,
    nfe: int,
    row_nfe: Sequence[int],
) -> Chosen:
    """Multiply what is known of each beginning, and write every row's most likely choice."""
    probabilities, best, confidence = [], [], []
    for number, row in enumerate(rows):
        steps = [
            [chances[number, choice[: count + 1]] for count in range(len(choice))] for choice in row
        ]
        scores = [math.fsum(each) for each in steps]
        if by == "answer":
            ended = [chances[number, (*choice, _END)] for choice in row]
            scores = [score + end for score, end in zip(scores, ended, strict=True)]
        probabilities.append(torch.tensor(scores, dtype=torch.float64).softmax(-1).tolist())
        best.append(max(range(len(row)), key=scores.__getitem__))
        sure = steps[best[-1]]
        confidence.append(math.fsum(map(math.exp, sure)) / len(sure))
        tokens[number, : len(sure)] = tokens.new_tensor(row[best[-1]])
    lengths = tokens.new_tensor([len(row[place]) for row, place in zip(rows, best, strict=True)])
    sure_of_rows = torch.tensor(confidence, dtype=torch.float32, device=tokens.device)
    output = SamplerOutput(tokens, lengths, nfe, None, tokens.new_tensor(row_nfe), sure_of_rows)
    return Chosen(probabilities, best, output)
