"""Predictors for decoding tests: tables with known confidences, and a small LLaDA."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dllm_audio import AudioEmbeddings, LLaDA, LLaDAConfig, condition
from dllm_audio.prompts import ConditionedPredictor
from dllm_audio.weights import load_weights
from parity import load_golden, load_golden_json

VOCAB, EOS, MASK = 24, 22, 23


class TablePredictor:
    """Logits that never change: ``table [B, R, V]``. Only the plain protocol."""

    def __init__(self, table: Tensor, mask_token_id: int, eos_token_id: int | None = None) -> None:
        self.table = table
        self.batch_size = table.shape[0]
        self.mask_token_id, self.eos_token_id = mask_token_id, eos_token_id
        self.device = table.device
        self.seen: list[Tensor] = []

    def __call__(self, x_t: Tensor) -> Tensor:
        self.seen.append(x_t.clone())
        return self.table


def sure_table(confidences: list[list[float]], tokens: list[list[int]] | None = None) -> Tensor:
    """Log-probabilities ``[B, R, V]`` whose likeliest token has exactly that probability.

    What is left is shared by all other tokens but the mask.
    """
    best = torch.tensor(confidences, dtype=torch.float64)
    chosen = torch.zeros(best.shape, dtype=torch.long) if tokens is None else torch.tensor(tokens)
    rest = ((1 - best) / (VOCAB - 2)).clamp(min=1e-300).log()
    table = rest[..., None].expand(*best.shape, VOCAB).clone()
    table.scatter_(-1, chosen[..., None], best.log()[..., None])
    table[..., MASK] = -torch.inf
    return table


def tiny_llada(
    seed: int = 0, *, dtype: torch.dtype = torch.float64, n_kv_heads: int | None = None
) -> LLaDA:
    """Two layers with large random weights, so that confidences spread over [0, 1].

    In float64 by default: rounding then never decides between two tokens.
    """
    torch.manual_seed(seed)
    config = LLaDAConfig(
        d_model=16, n_layers=2, n_heads=2, n_kv_heads=n_kv_heads, mlp_hidden_size=24,
        vocab_size=VOCAB, mask_token_id=MASK, eos_token_id=EOS, init_std=0.5,
    )  # fmt: skip
    return LLaDA(config).to(dtype).eval().requires_grad_(False)


@cache
def golden_llada(name: str = "llada", eos_head: bool = False) -> LLaDA:
    """The backbone of the parity data."""
    model = LLaDA(LLaDAConfig.from_dict(load_golden_json(f"{name}_config")))
    weights = load_golden(f"{name}_weights")
    load_weights(
        model, ((LLaDA.names.native(k), v) for k, v in weights.items()), source="parity data"
    )
    if eos_head:
        model.ff_out.weight.data = load_golden("diffa_io")["eos_head_weight"]
    return model.eval().requires_grad_(False)


class Batch:
    """Rows of mixed prompt, audio and response lengths, to be conditioned together or alone.

    Args:
        backbone: what predicts.
        prompts: prompt ids of each row.
        clips: audio ``[A, D]`` of each row; None: without.
        starts: ``audio_start`` of each row.
        response_mask: ``[B, R]`` or None.
    """

    def __init__(
        self,
        backbone: LLaDA,
        prompts: list[list[int]],
        clips: list[Tensor | None] | None = None,
        starts: list[int] | None = None,
        response_mask: Tensor | None = None,
    ) -> None:
        self.backbone, self.prompts, self.response_mask = backbone, prompts, response_mask
        self.clips = clips or [None] * len(prompts)
        self.starts = starts or [0] * len(prompts)

    def together(self) -> ConditionedPredictor:
        return self._condition(range(len(self.prompts)))

    def alone(self, row: int) -> ConditionedPredictor:
        return self._condition([row])

    def _condition(self, rows: range | list[int]) -> ConditionedPredictor:
        longest = max(len(self.prompts[r]) for r in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, r in enumerate(rows):
            count = len(self.prompts[r])
            ids[i, longest - count :] = torch.tensor(self.prompts[r])
            mask[i, longest - count :] = True
        audio, start = None, None
        clips = [self.clips[r] for r in rows]
        if any(clip is not None for clip in clips):
            frames = [0 if clip is None else len(clip) for clip in clips]
            embeds = torch.zeros(len(rows), max(frames), self.backbone.config.d_model)
            embeds = embeds.to(self.backbone.dtype)
            for i, clip in enumerate(clips):
                if clip is not None:
                    embeds[i, : frames[i]] = clip
            audio = AudioEmbeddings(embeds, torch.tensor(frames))
            start = torch.tensor([self.starts[r] for r in rows])
        response = None if self.response_mask is None else self.response_mask[list(rows)]
        return condition(
            self.backbone, ids, prompt_mask=mask, audio=audio, audio_start=start,
            response_mask=response,
        )  # fmt: skip


def mixed_batch(backbone: LLaDA, seed: int, rows: int = 3, with_audio: bool = True) -> Batch:
    """Random prompts of different lengths, some with audio in the middle."""
    g = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=g))

    prompts, clips, starts = [], [], []
    for _ in range(rows):
        length = draw(1, 7)
        prompts.append(torch.randint(0, EOS, (length,), generator=g).tolist())
        frames = draw(0, 4) if with_audio else 0
        clip = torch.randn(frames, backbone.config.d_model, generator=g).to(backbone.dtype)
        clips.append(clip if frames else None)
        starts.append(draw(0, length))
    return Batch(backbone, prompts, clips, starts)
