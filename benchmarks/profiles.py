"""Confidence as real models have it, on top of a model with random weights.

Random weights make every rule commit one token a step.  A profiled predictor pays for the whole
model and then overwrites, at every position, the logits of two tokens so that the best one has
the confidence that a profile asks for.  How many tokens a rule commits is then realistic, while
what they say is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_audio import LLaDAConfig


@dataclass(frozen=True)
class Profile:
    """How sure a model is of the tokens of one kind of text.

    A position keeps its confidence until it is committed: real models grow surer as neighbors
    are filled in, so the number of tokens per step is a cautious estimate.

    Attributes:
        name: what results call it.
        sure: fraction of the tokens whose confidence is at least 0.9.
        source: where the fraction comes from.
    """

    name: str
    sure: float
    source: str

    def confidences(self, batch: int, length: int, generator: torch.Generator) -> Tensor:
        """``[B, R]`` float64: exactly ``round(sure * R)`` of each row lie in [0.905, 0.9995]."""
        u = torch.rand(batch, length, generator=generator, dtype=torch.float64)
        # Sure tokens crowd near 1 (their mean is 0.975), the others spread over [0.5, 0.88].
        high = (1 - 0.1 * u**3).clamp(0.905, 0.9995)
        low = 0.5 + 0.38 * u
        order = torch.rand(batch, length, generator=generator).argsort(-1)
        return torch.where(order < round(self.sure * length), high, low)


PROFILES = {
    "asr": Profile("asr", 0.94, "transcription, arXiv 2605.29613: 94 % of tokens >= 0.9"),
    "reasoning": Profile("reasoning", 0.59, "reasoning text: 59 % of tokens >= 0.9"),
}


class ProfiledPredictor:
    """A conditioned predictor whose confidence follows a profile.

    Args:
        inner: the predictor that is paid for.
        tokens: ``[B, R]`` the best token of every position.
        logits: ``[B, R, 2]`` the logits of the best token and of the runner-up.
    """

    def __init__(self, inner: Any, tokens: Tensor, logits: Tensor) -> None:
        self.inner, self._tokens, self._logits = inner, tokens, logits
        self.batch_size: int = inner.batch_size
        self.mask_token_id: int = inner.mask_token_id
        self.eos_token_id: int | None = inner.eos_token_id
        self.device: torch.device = inner.device
        self.causal_block_length: int | None = inner.causal_block_length

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: Any = None,
        window: Tensor | None = None,
        **options: bool,
    ) -> Tensor:
        """Logits of the model with two of each position's replaced."""
        logits = self.inner(x_t, positions, cache=cache, window=window, **options)
        tokens, values = self._tokens, self._logits
        if positions is not None:
            where = positions.expand(len(tokens), -1)
            tokens = tokens.gather(1, where)
            values = values.gather(1, where[..., None].expand(-1, -1, 2))
        pair = torch.stack((tokens, tokens + 1), dim=-1)
        return logits.scatter_(-1, pair, values.to(logits.dtype))

    def new_cache(self, response_length: int) -> Any:
        """The model's own cache."""
        return self.inner.new_cache(response_length)

    def select(self, rows: Tensor) -> ProfiledPredictor:
        """The profile and the model of the chosen rows."""
        return ProfiledPredictor(self.inner.select(rows), self._tokens[rows], self._logits[rows])

    def cache_rows(self, rows: Tensor) -> Tensor:
        """As the model's predictor maps rows to rows of its cache."""
        return self.inner.cache_rows(rows)


def draw(
    profile: Profile,
    config: LLaDAConfig,
    batch: int,
    length: int,
    device: torch.device,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Tokens and logits of a :class:`ProfiledPredictor`.

    Args:
        profile: how sure the model shall be.
        config: of a backbone whose weights were just initialized.
        batch: rows B.
        length: response length R.
        device: where the result goes.
        seed: of confidences and tokens.

    Returns:
        ``[B, R]`` int64 and ``[B, R, 2]`` float32.
    """
    generator = torch.Generator().manual_seed(seed)
    confidence = profile.confidences(batch, length, generator)
    # Normalized states times normal weights: logits are N(0, init_std^2 D), so the sum of their
    # exponentials is known without computing it.
    log_tail = math.log(config.num_embeddings) + config.init_std**2 * config.d_model / 2
    # Of what the best token leaves, the runner-up gets nine tenths and the tail one tenth.
    best = confidence.log() - (0.1 * (1 - confidence)).log() + log_tail
    runner_up = torch.full_like(best, math.log(9.0) + log_tail)
    # Ids below the special ones, with room for the runner-up.
    tokens = torch.randint(config.num_embeddings - 4, (batch, length), generator=generator)
    return tokens.to(device), torch.stack((best, runner_up), dim=-1).float().to(device)
