"""How many errors of a prior are mended, and what that costs: ``python -m benchmarks.priors``.

Transcripts of clips from the small model's world are damaged on purpose (a fifth of the words is
replaced, left out, or has another one behind it), given to the model as a prior, and compared with
what was said.  Everything is fixed by the seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dllm_audio import AudioDiffusionLM, toy
from dllm_audio.files import write_json
from dllm_audio.priors import EditRule, Hypothesis, PriorTranscriber, Word, align

KINDS = ("substitution", "deletion", "insertion")
QUESTION = "Please transcribe the audio to text."
BATCH = 16


@dataclass(frozen=True)
class Damaged:
    """A clip, what is said in it, and a hypothesis with errors.

    Attributes:
        waveform: float32 ``[T]``, 16 kHz.
        said: the words.
        hypothesis: with errors, and perhaps with confidences.
        kinds: of the errors.
    """

    waveform: np.ndarray
    said: tuple[str, ...]
    hypothesis: Hypothesis
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """Counts of words.

    Attributes:
        clips: how many.
        words: said in them.
        errors: of the priors (substitutions, deletions, insertions).
        mended: of these.
        lost: words that the prior had right and the result has not.
        added: words that nobody said and the prior did not have.
        left: errors of the results.
    """

    clips: int = 0
    words: int = 0
    errors: int = 0
    mended: int = 0
    lost: int = 0
    added: int = 0
    left: int = 0

    def __add__(self, other: Figures) -> Figures:
        names = [field.name for field in fields(self)]
        return Figures(*(getattr(self, name) + getattr(other, name) for name in names))


def damage(
    words: Sequence[str], rng: np.random.Generator, share: float, *, sure: bool
) -> tuple[Hypothesis, tuple[str, ...]]:
    """A hypothesis with errors in about ``share`` of the words.

    Args:
        words: what is said.
        rng: of the errors.
        share: of words that are damaged.
        sure: give confidences: wrong words are less sure than right ones on average, not always.
    """
    world = toy.DIGITS if words[0] in toy.DIGITS else tuple(" ".join(toy.COMMANDS).split())
    made: list[Word] = []
    kinds = []

    def heard(text: str, low: float, high: float) -> Word:
        return Word(text, float(rng.uniform(low, high)) if sure else None)

    for word in words:
        kind = KINDS[int(rng.integers(3))] if rng.random() < share else None
        other = str(rng.choice([each for each in world if each != word]))
        if kind == "substitution":
            made.append(heard(other, 0.2, 0.8))
        elif kind != "deletion":
            made.append(heard(word, 0.6, 1.0))
        if kind == "insertion":
            made.append(heard(other, 0.2, 0.8))
        kinds += [] if kind is None else [kind]
    return Hypothesis(tuple(made)), tuple(kinds)


def damaged_clips(rows: int, seed: int, share: float, *, sure: bool) -> Iterator[Damaged]:
    """Clips of held-out voices, digits and commands in turn."""
    data = toy.ToyDataset("heldout", rows, seed, families=("digits", "command"), choice_share=0.0)
    for number, record in enumerate(data):
        rng = np.random.default_rng([seed, number])
        said = tuple(" ".join(record.scene.words).split())
        yield Damaged(record.waveform, said, *damage(said, rng, share, sure=sure))


def compare(said: Sequence[str], before: Sequence[str], after: Sequence[str]) -> Figures:
    """What became of a prior's words."""
    found = []
    for text in (before, after):
        pairs = align(said, text)
        right = {i for i, j in pairs if i is not None and j is not None and said[i] == text[j]}
        missed = sum(i is not None and i not in right for i, _ in pairs)
        extra = sum(i is None for i, _ in pairs)
        found.append((right, extra, missed + extra))
    (right, extra, errors), (now_right, now_extra, left) = found
    return Figures(
        clips=1,
        words=len(said),
        errors=errors,
        mended=len(now_right - right) + max(extra - now_extra, 0),
        lost=len(right - now_right),
        added=max(now_extra - extra, 0),
        left=left,
    )


def measure(
    model: AudioDiffusionLM,
    rows: int = 240,
    seed: int = 7,
    share: float = 0.2,
    rule: EditRule | None = None,
    *,
    sure: bool = False,
    shown: bool = True,
) -> Figures:
    """Damage, mend, compare.

    Args:
        model: the one that mends.
        rows: clips.
        seed: of clips and errors.
        share: of the words that are damaged.
        rule: whom to believe.
        sure: whether the prior tells how sure it is of each word.
        shown: a bar on standard error.
    """
    transcriber = PriorTranscriber(model, rule=rule)
    clips = list(damaged_clips(rows, seed, share, sure=sure))
    total = Figures()
    for start in tqdm(range(0, rows, BATCH), desc="mending", disable=not shown):
        batch = clips[start : start + BATCH]
        found = transcriber(
            [(clip.waveform, 16000) for clip in batch],
            QUESTION,
            [clip.hypothesis for clip in batch],
        )
        for clip, result in zip(batch, found, strict=True):
            before = [word.text for word in clip.hypothesis.words]
            total += compare(clip.said, before, [word.text for word in result.words])
    return total


def table(rows: Sequence[tuple[str, Figures]]) -> str:
    """The figures as a table in Markdown."""
    names = [field.name for field in fields(Figures)]
    lines = [f"| prior | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}"]
    for name, figures in rows:
        values = " | ".join(str(getattr(figures, each)) for each in names)
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.priors")
    parser.add_argument("--model", help="default: the small model of the package")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    model = AudioDiffusionLM.from_pretrained(options.model) if options.model else toy.small_model()
    rows = []
    for name, sure in (("without confidences", False), ("with confidences", True)):
        rows.append((name, measure(model, options.rows, options.seed, sure=sure)))
    print(table(rows))
    if options.output is not None:
        write_json(options.output, {name: vars(figures) for name, figures in rows})


if __name__ == "__main__":
    main()
