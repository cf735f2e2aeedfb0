"""Which way to decode?  Rules and caches side by side on questions with known answers.

The ways take turns on every batch, so that all see the same machine.  One that is as accurate as
one token a step, within the standard error of their difference, is as good; of those the fastest
is recommended.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from ..errors import InvalidArgumentError, MissingDependencyError
from ..samplers import (
    KLASS,
    AdaptiveSampler,
    CachedParallelSampler,
    EditingSampler,
    EntropyBound,
    Factor,
    FixedQuota,
    LocalLeap,
    RhoEOS,
    Sampler,
    SamplingOptions,
    Threshold,
    WINOSampler,
)
from .robust import normalize

if TYPE_CHECKING:
    from ..model import AudioDiffusionLM
    from ..protocols import AudioSource

REFERENCE = "one token a step"
_ROUNDING = 1e-12  # a single lost answer is one standard error


@dataclass(frozen=True, slots=True)
class TuningQuestion:
    """A question whose answer is known.

    Attributes:
        prompt: the user's text.
        audio: a clip, or None.
        target: the answer that is right.
    """

    prompt: str
    audio: AudioSource | None = field(repr=False)
    target: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to decode.

    Attributes:
        rule: the commit rule in words.
        sampler: decodes.
    """

    rule: str
    sampler: Sampler

    @property
    def cache(self) -> str:
        """What is reused, in words."""
        policy = self.sampler.cache
        if policy.kind is None:
            return "none"
        return f"{policy.kind}, prompt once" if policy.refresh == "response" else policy.kind


@dataclass(frozen=True)
class Measured:
    """What a way to decode did.

    Attributes:
        candidate: the way.
        scores: of each question, in [0, 1].
        texts: the answers.
        passes: forward passes of each answer.
        tokens: tokens of each answer; what fills the rest of its canvas does not count.
        seconds: decoding time of all of them, audio and prompts already encoded.
    """

    candidate: Candidate
    scores: tuple[float, ...]
    texts: tuple[str, ...]
    passes: tuple[int, ...]
    tokens: tuple[int, ...]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Mean score."""
        return statistics.fmean(self.scores)

    @property
    def tokens_per_pass(self) -> float:
        """Tokens of all answers over forward passes of all answers."""
        return sum(self.tokens) / max(sum(self.passes), 1)

    @property
    def milliseconds(self) -> float:
        """Decoding time of an answer."""
        return 1e3 * self.seconds / len(self.scores)

    def behind(self, other: Measured) -> tuple[float, float]:
        """How much less accurate this is than another way, and the standard error of that."""
        pairs = zip(other.scores, self.scores, strict=True)
        differences = [theirs - ours for theirs, ours in pairs]
        spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
        return statistics.fmean(differences), spread / math.sqrt(len(differences))


def same_text(text: str, target: str) -> float:
    """1 where two answers differ by no more than case, spacing and punctuation around them.

    Example:
        >>> same_text(" Two. ", "two"), same_text("two", "three")
        (1.0, 0.0)
    """
    return float(normalize(text) == normalize(target))


def candidates(
    gen_length: int, block_length: int | None = None, *, causal: bool = False
) -> list[Candidate]:
    """The ways that are worth a measurement; the first is one token a step without a cache.

    Args:
        gen_length: response positions R.
        block_length: positions of a block; None: one block.
        causal: whether the backbone's blocks see nothing behind them, so that the cache is exact.

    Example:
        >>> [way.rule for way in candidates(16, 8)[:2]], len(candidates(16, 8))
        (['one token a step', 'Threshold(0.9)'], 28)
    """
    block = gen_length if block_length is None else block_length
    rules = {
        "Threshold(0.9)": Threshold(0.9),
        "Threshold(0.7)": Threshold(0.7),
        "Factor(1.0)": Factor(1.0),
        "EntropyBound(0.1)": EntropyBound(0.1),
        "LocalLeap": LocalLeap(),
        "KLASS": KLASS(gen_length, conf_threshold=0.9, kl_threshold=0.01),
    }
    caches: list[dict[str, Any]] = [{"cache": None}, {"cache": "exact"}]
    if not causal:
        caches = [{"cache": None}, {"cache": "prefix"}, {"cache": "dual"}]
        caches.append({"cache": "dual", "refresh": "response"})
    made = [
        Candidate(REFERENCE, CachedParallelSampler(gen_length, block, FixedQuota(gen_length), None))
    ]
    for name, rule in rules.items():
        made += [
            Candidate(name, CachedParallelSampler(gen_length, block, rule, **cache))
            for cache in caches
        ]
    # Which take tokens back, or find the length.
    revised: dict[str, Any] = {"cache": "exact" if causal else None, "eos_stop": True}
    surely = EditingSampler(gen_length, block, 0.9, 0.9, 4, **revised)
    made.append(Candidate("Editing(0.9, 0.9)", surely))
    if not causal:
        made.append(Candidate("WINO", WINOSampler(gen_length, block, **revised)))
        found = RhoEOS(initial_gen_length=min(block, gen_length), max_gen_length=gen_length)
        options = SamplingOptions(eos_stop=True)
        made.append(Candidate("rho-EOS", AdaptiveSampler(found, block, options=options)))
    return made


def measure(
    model: AudioDiffusionLM,
    questions: Sequence[TuningQuestion],
    ways: Sequence[Candidate],
    *,
    batch_size: int = 8,
    repeats: int = 2,
    score: Callable[[str, str], float] = same_text,
) -> list[Measured]:
    """Answer every question in every way.

    Args:
        model: answers.
        questions: with their answers.
        ways: how to decode.
        batch_size: questions at once.
        repeats: timed decodings of a batch; the fastest counts.
        score: from an answer and the right one to [0, 1].

    Returns:
        One a way, in their order.

    Raises:
        InvalidArgumentError: no question.
    """
    if not questions:
        raise InvalidArgumentError("questions", "at least one", 0)
    texts: list[list[str]] = [[] for _ in ways]
    passes: list[list[int]] = [[] for _ in ways]
    tokens: list[list[int]] = [[] for _ in ways]
    seconds = [0.0] * len(ways)
    starts = range(0, len(questions), batch_size)
    for start in tqdm(starts, desc="decode", unit="batch"):
        batch = questions[start : start + batch_size]
        predictor = model.prepare(
            prompts=[question.prompt for question in batch],
            audio=[question.audio for question in batch],
        )
        fastest = [math.inf] * len(ways)
        for repeat in range(repeats):
            for number, way in enumerate(ways):
                begin = time.perf_counter()
                output = way.sampler(predictor)
                lengths = output.lengths.tolist()  # waits for a device to finish
                fastest[number] = min(fastest[number], time.perf_counter() - begin)
                if repeat == 0:
                    texts[number] += model.decode(output)
                    passes[number] += output.row_nfe.tolist()
                    tokens[number] += lengths
        seconds = [total + fast for total, fast in zip(seconds, fastest, strict=True)]
    targets = [question.target for question in questions]
    return [
        Measured(
            way,
            tuple(score(text, target) for text, target in zip(texts[n], targets, strict=True)),
            tuple(texts[n]),
            tuple(passes[n]),
            tuple(tokens[n]),
            seconds[n],
        )
        for n, way in enumerate(ways)
    ]


def recommend(measured: Sequence[Measured]) -> Measured:
    """The fastest way that is not less accurate than the first by more than a standard error.

    Args:
        measured: of the same questions; the first is what the others are compared with.
    """
    reference = measured[0]
    good = []
    for way in measured:
        lost, error = way.behind(reference)
        if lost <= error + _ROUNDING:
            good.append(way)
    return min(good, key=lambda way: way.seconds)


def pareto_front(measured: Sequence[Measured]) -> list[Measured]:
    """The ways that no other one beats in both time and accuracy, the fastest first."""
    front: list[Measured] = []
    for way in sorted(measured, key=lambda way: (way.seconds, -way.accuracy)):
        if not front or way.accuracy > front[-1].accuracy:
            front.append(way)
    return front


def tuning_table(measured: Sequence[Measured], chosen: Measured) -> str:
    """Markdown: every way, the recommended one in bold."""
    reference = measured[0]
    lines = [
        "| rule | cache | accuracy | same as the first | passes | tokens a pass | ms an answer |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for way in measured:
        same = statistics.fmean(a == b for a, b in zip(way.texts, reference.texts, strict=True))
        name = f"**{way.candidate.rule}**" if way is chosen else way.candidate.rule
        lines.append(
            f"| {name} | {way.candidate.cache} | {100 * way.accuracy:.1f} % | {100 * same:.1f} % "
            f"| {statistics.fmean(way.passes):.2f} | {way.tokens_per_pass:.2f} "
            f"| {way.milliseconds:.2f} |"
        )
    lost, error = chosen.behind(reference)
    note = (
        f"{len(reference.scores)} questions. Recommended: {chosen.candidate.rule} with cache "
        f"{chosen.candidate.cache}, {reference.seconds / chosen.seconds:.1f} times as fast as the "
        f"first row; accuracy {0.0 - 100 * lost:+.1f} points (standard error {100 * error:.1f})."
    )
    return "\n".join([*lines, "", note, ""])


def draw_tuning(measured: Sequence[Measured], chosen: Measured, path: Path) -> None:
    """Accuracy against time, with the front that nothing beats.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "pictures", "plot") from error
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    rules = list(dict.fromkeys(way.candidate.rule for way in measured))
    caches = list(dict.fromkeys(way.candidate.cache for way in measured))
    for way in measured:
        axes.plot(
            way.milliseconds,
            100 * way.accuracy,
            marker="os^Dv"[caches.index(way.candidate.cache) % 5],
            color=_color(rules.index(way.candidate.rule)),
            linestyle="none",
            markersize=9 if way is chosen else 6,
            markeredgecolor="black" if way is chosen else "none",
        )
    front = pareto_front(measured)
    xs, ys = [w.milliseconds for w in front], [100 * w.accuracy for w in front]
    axes.step(xs, ys, where="post", color="0.6", linewidth=1, zorder=0)
    for number, rule in enumerate(rules):
        axes.plot([], [], "o", color=_color(number), label=rule)
    for number, cache in enumerate(caches):
        axes.plot([], [], "os^Dv"[number % 5], color="0.4", label=f"cache: {cache}")
    axes.set(xscale="log", xlabel="ms an answer", ylabel="accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.suptitle(
        "Accuracy against time; the line is the front, the black rim the choice", size=10
    )
    figure.savefig(path, dpi=120)


def _color(number: int) -> tuple[float, float, float, float]:
    """Of the rule with a number: ten strong colors, then their pale ones."""
    from matplotlib import colormaps

    return colormaps["tab20"](2 * number % 20 + number // 10 % 2)
