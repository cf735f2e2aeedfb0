"""Voices between voices: a spoken digit blended with another take of the same word."""

from __future__ import annotations

from collections import defaultdict

import torch
from clips import Clips
from settings import MEL_RATE
from torch import Tensor
from torch.nn import functional as F

CHANCE, LARGEST_SHARE = 0.5, 0.6


class Morphs:
    """Blends clips of a single word with others, in log-mel features.

    There are few people to learn from; between two of them, or a person and a synthetic voice,
    lie voices that nobody recorded.

    Args:
        clips: where features and spans are.
        usable: bool ``[N]``, clips that may be changed and blended in.
    """

    def __init__(self, clips: Clips, usable: Tensor) -> None:
        self._features = clips.features
        self._spans: dict[int, tuple[str, int, int]] = {}
        self._takes: dict[str, list[int]] = defaultdict(list)
        for row in usable.nonzero()[:, 0].tolist():
            if len(clips.scenes[row].spans) != 1:
                continue
            (span,) = clips.scenes[row].spans
            start, end = (int(t * MEL_RATE) for t in (span.start, span.end))
            self._spans[row] = span.text, start, end
            self._takes[span.text].append(row)

    def __call__(self, features: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """``features [B, M, T]`` of ``rows [B]`` with some of the words blended, in place."""
        chance = torch.rand(3, len(rows), generator=generator).tolist()
        for index, row in enumerate(rows.tolist()):
            if row not in self._spans or chance[0][index] >= CHANCE:
                continue
            word, start, end = self._spans[row]
            end = min(end, features.shape[2])
            takes = self._takes[word]
            other = takes[int(chance[1][index] * len(takes))]
            _, other_start, other_end = self._spans[other]
            voice = self._features[other, :, other_start:other_end].float()
            if end - start < 2 or voice.shape[1] < 2:
                continue
            voice = F.interpolate(voice[None], end - start, mode="linear")[0]
            own = features[index, :, start:end]
            voice = voice + (own.max() - voice.max())
            features[index, :, start:end] = own.lerp(voice, LARGEST_SHARE * chance[2][index])
        return features
