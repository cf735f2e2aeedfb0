"""Decoding by use: named descriptions with the settings that measurements recommend.

``docs/decoding.md`` has the tables. A preset is an ordinary description (see :func:`.from_dict`):
read it, change it, or write your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidArgumentError
from ..parts import Description
from .loop import Sampler
from .named import from_dict


def _parallel(
    gen_length: int, block_length: int | None, rule: str, **settings: float
) -> Description:
    """Several tokens a step, prefix cache, EOS stop."""
    commit = {"name": rule, "settings": settings}
    blocks = {"gen_length": gen_length, "block_length": block_length}
    return {**blocks, "commit": commit, "cache": {"kind": "prefix"}, "eos_stop": True}


def _one_a_step(gen_length: int) -> Description:
    """Low-confidence decoding in one block with as many steps as tokens, nothing approximate."""
    return {"gen_length": gen_length, "steps": gen_length}


PRESETS: Mapping[str, Description] = {
    # Answers of a few words. With one block the first pass fills the cache and also decodes; the
    # cache holds all of the prompt and its audio. Threshold 0.9 keeps about the accuracy of one
    # token a step: for LLaDA-8B with a prefix cache 78.5 % against 79.3 % on GSM8K (5-shot, 256
    # tokens; Fast-dLLM, arXiv 2505.22618).
    "multiple-choice": _parallel(16, None, "threshold", tau=0.9),
    # Answers of about 128 tokens.
    "answers": _parallel(128, 32, "threshold", tau=0.9),
    # LocalLeap (arXiv 2510.07081): about a third faster for about one point of accuracy. In a
    # comparison by neither paper, LLaDA-8B on GSM8K without a cache (H100, batch 1, blocks of 32,
    # 256 tokens) reaches 77.3 % at 4.28 times the speed of one token a step, against 78.4 % at
    # 3.24 times with threshold 0.9; one token a step reaches 77.9 %.
    "answers-fast": _parallel(128, 32, "local-leap"),
    # Transcripts: 94 % of their tokens have a confidence of 0.9 or more at once (arXiv
    # 2605.29613). Bound the length by the duration of the audio with LengthRule.
    "transcription": _parallel(128, 32, "threshold", tau=0.9),
    # Word error rate 2.81 on LibriSpeech test-clean, within 0.03 of the autoregressive model
    # (arXiv 2605.29613).
    "transcription-accurate": _parallel(128, 4, "threshold", tau=0.95),
    # What the published scores of DIFFA used: MMAU, MMAR and VoiceBench; MMSU; LibriSpeech.
    "diffa": _one_a_step(16),
    "diffa-mmsu": _one_a_step(4),
    "diffa-librispeech": _one_a_step(128),
    # DIFFA-2's parallel decoding; its published scores also used one token a step ("diffa").
    "diffa-2": {
        "gen_length": 16,
        "commit": {"name": "factor", "settings": {"factor": 1.0}},
        "eos_stop": True,
    },
}


def preset(name: str, **changes: Any) -> Sampler:
    """The sampler of a preset.

    Args:
        name: a key of :data:`PRESETS`.
        changes: keys of the description that replace the preset's, for example ``gen_length``,
            ``temperature`` or ``trace``.

    Raises:
        InvalidArgumentError: an unknown name or key, or a value that does not fit.

    Example:
        >>> preset("multiple-choice", trace=True).bounds()
        [(0, 16)]
        >>> preset("answers", gen_length=100).bounds()
        [(0, 32), (32, 64), (64, 96), (96, 100)]
        >>> preset("diffa-2", gen_length=128, block_length=32).commit
        Factor(factor=1.0, commit_last=True)
    """
    if name not in PRESETS:
        raise InvalidArgumentError("preset", f"one of {', '.join(PRESETS)}", repr(name))
    return from_dict({**PRESETS[name], **changes})
