"""Random models, batches and samplers: what is decoded in a search for broken laws.

A case is a number: the same number makes the same case on every machine.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dllm_audio import (
    AudioEmbeddings,
    ClassifierFreeGuidance,
    EntropyBound,
    Factor,
    FixedQuota,
    LLaDA,
    LLaDAConfig,
    LocalLeap,
    Threshold,
    condition,
)
from dllm_audio.outputs import SamplerOutput
from dllm_audio.prompts import ConditionedPredictor
from dllm_audio.samplers import (
    CachePolicy,
    CommitRule,
    Hierarchical,
    Sampler,
    SamplingOptions,
    TimestepQuota,
    TraceCredit,
)

_KEY_HEADS = {1: [1], 2: [1, 2], 3: [1, 3], 4: [1, 2, 4], 6: [1, 2, 3, 6]}
UNCONDITIONAL = 1000  # rows of the second branch, with guidance, count from here
CACHES = (None, "prefix", "dual", "prefix-response", "dual-response")


@dataclass(frozen=True)
class Run:
    """A way to decode a case: all of its rows, or one."""

    cache: str | None
    interval: int | None
    row: int | None = None


@dataclass(frozen=True)
class Record:
    """What a predictor was asked for a row of the case, and what it said."""

    row: int  # of the case; of the other branch where guidance is on, counted from UNCONDITIONAL
    x_t: Tensor
    logits: Tensor  # [R, V]; NaN where none were wanted


@dataclass
class Recorder:
    """A predictor that remembers what it is asked."""

    predictor: Any
    rows: list[int]
    records: list[Record]
    batch_size: int = field(init=False)

    def __post_init__(self) -> None:
        self.batch_size = self.predictor.batch_size

    def __getattr__(self, name: str) -> Any:
        return getattr(self.predictor, name)

    def __call__(self, x_t: Tensor, positions: Tensor | None = None, **options: Any) -> Tensor:
        logits: Tensor = self.predictor(x_t, positions, **options)
        batch, length = x_t.shape
        where = torch.arange(length) if positions is None else positions
        where = where.expand(batch, -1) if where.dim() == 1 else where
        for place, row in enumerate(self.rows):
            known = torch.full((length, logits.shape[-1]), float("nan"))
            known[where[place]] = logits[place].float()
            self.records.append(Record(row, x_t[place].clone(), known))
        return logits

    def new_cache(self, response_length: int) -> Any:
        return self.predictor.new_cache(response_length)

    def cache_rows(self, rows: Tensor) -> Tensor:
        found: Tensor = self.predictor.cache_rows(rows)
        return found

    def select(self, rows: Tensor) -> Recorder:
        kept = [self.rows[row] for row in rows.tolist()]
        return Recorder(self.predictor.select(rows), kept, self.records)

    def paired(self, unconditional: str) -> Recorder:
        rows = [*self.rows, *(row + UNCONDITIONAL for row in self.rows)]
        return Recorder(self.predictor.paired(unconditional), rows, self.records)


@dataclass
class Case:
    """A model, a batch of prompts with audio and given tokens, and a sampler."""

    number: int
    model: LLaDA
    prompts: list[int]  # lengths
    clips: list[int] | None  # lengths
    gen_length: int
    block: int
    commit: CommitRule
    cache: str | None
    interval: int | None
    steps: int | None
    options: SamplingOptions
    start: Tensor | None
    response_mask: Tensor | None
    prompt_ids: Tensor
    prompt_mask: Tensor
    audio: Tensor | None
    audio_start: Tensor | None

    @property
    def rows(self) -> int:
        return len(self.prompts)

    def in_float64(self) -> Case:
        """The same case, rounded much later."""
        audio = None if self.audio is None else self.audio.double()
        return replace(self, model=copy.deepcopy(self.model).double(), audio=audio)

    def together(self) -> ConditionedPredictor:
        audio = None
        if self.audio is not None:
            audio = AudioEmbeddings(self.audio, torch.tensor(self.clips))
        return condition(
            self.model, self.prompt_ids, prompt_mask=self.prompt_mask, audio=audio,
            response_mask=self.response_mask, audio_start=self.audio_start,
        )  # fmt: skip

    def alone(self, row: int) -> ConditionedPredictor:
        audio, start = None, None
        if self.audio is not None and self.clips is not None and self.audio_start is not None:
            guidance = self.options.guidance
            count = self.clips[row]
            if count or (guidance is not None and guidance.unconditional == "audio"):
                clip = self.audio[row : row + 1, :count]
                audio = AudioEmbeddings(clip, torch.tensor([count]))
                start = self.audio_start[row : row + 1]
        mask = None if self.response_mask is None else self.response_mask[row : row + 1]
        ids = self.prompt_ids[row : row + 1, self.prompt_ids.shape[1] - self.prompts[row] :]
        return condition(self.model, ids, response_mask=mask, audio=audio, audio_start=start)

    def sampler(self, cache: str | None, interval: int | None) -> Sampler:
        policy = CachePolicy()
        if cache is not None:
            kind, _, refresh = cache.partition("-")
            policy = CachePolicy(kind, interval, refresh or "sequence")
        return Sampler(self.gen_length, self.block, self.commit, policy, self.options, self.steps)

    def arguments(self, row: int | None = None) -> dict[str, Any]:
        """What the sampler is called with, for all rows or for one."""
        rows = range(self.rows) if row is None else [row]
        arguments: dict[str, Any] = {}
        if self.start is not None:
            arguments["start"] = self.start[list(rows)]
        if self.options.temperature > 0 or self.options.confidence == "random":
            seeds = [self.number * 100 + each for each in rows]
            arguments["generator"] = [torch.Generator().manual_seed(seed) for seed in seeds]
        return arguments

    def decode(self, run: Run, records: list[Record] | None = None) -> SamplerOutput:
        predictor: Any = self.together() if run.row is None else self.alone(run.row)
        if records is not None:
            rows = range(self.rows) if run.row is None else [run.row]
            predictor = Recorder(predictor, list(rows), records)
        return self.sampler(run.cache, run.interval)(predictor, **self.arguments(run.row))

    def first_tokens(self) -> Tensor:
        """What decoding begins from: given tokens, EOS in padding, masks."""
        config = self.model.config
        tokens = torch.full((self.rows, self.gen_length), config.mask_token_id)
        tokens = tokens if self.start is None else self.start.clone()
        if self.response_mask is not None:
            tokens = torch.where(self.response_mask, tokens, config.eos_token_id)
        return tokens


def make(number: int) -> Case:
    r = random.Random(number)
    model = _model(r, number)
    config = model.config
    vocabulary = config.num_embeddings
    rows = r.randint(1, 5)
    prompts = [r.randint(0 if r.random() < 0.1 else 1, 9) for _ in range(rows)]
    with_audio = r.random() < 0.7
    clips = [r.choice([0, 0, 1, 2, 5, 11]) for _ in range(rows)] if with_audio else None
    length = r.randint(1, 20)
    block = r.randint(1, length)
    blocks = -(-length // block)
    commit = _rule(r, length, blocks)
    g = torch.Generator().manual_seed(number + 1)
    start = None
    if r.random() < 0.4:
        keep = torch.rand(rows, length, generator=g) < r.choice([0.1, 0.3, 0.7, 1.0])
        tokens = torch.randint(0, vocabulary, (rows, length), generator=g)
        start = torch.where(keep, tokens, config.mask_token_id)
    response_mask = None
    if r.random() < 0.3:
        lengths = torch.tensor([r.randint(1, length) for _ in range(rows)])
        response_mask = torch.arange(length) < lengths[:, None]
    longest = max(prompts)
    ids = torch.randint(0, vocabulary, (rows, longest), generator=g)
    mask = torch.arange(longest) >= longest - torch.tensor(prompts)[:, None]
    audio = audio_start = None
    if clips is not None:
        width = max(clips) + r.choice([0, 0, 2])
        scale = r.choice([0.02, 0.5, 1.0])
        audio = torch.randn(rows, width, config.d_model, generator=g) * scale
        for row, count in enumerate(clips):  # what is behind a clip must never be looked at
            audio[row, count:] = float("nan") if r.random() < 0.5 else 1e3
        audio_start = torch.tensor([r.randint(0, count) for count in prompts])
    return Case(
        number, model, prompts, clips, length, block, commit,
        cache=r.choice(CACHES),
        interval=r.choice([None, None, 2, 3]),
        steps=_steps(r, commit, blocks, length),
        options=_options(r, config, with_audio),
        start=start, response_mask=response_mask, prompt_ids=ids, prompt_mask=mask,
        audio=audio, audio_start=audio_start,
    )  # fmt: skip


def _model(r: random.Random, seed: int) -> LLaDA:
    heads, head_dim = r.choice([1, 2, 3, 4, 6]), r.choice([2, 4, 6, 8])
    vocabulary = r.choice([3, 5, 8, 17, 40, 64, 131])
    padded = vocabulary if r.random() < 0.7 else vocabulary + r.randint(1, 9)
    mask = r.randrange(vocabulary)
    config = LLaDAConfig(
        d_model=heads * head_dim, n_layers=r.randint(1, 3), n_heads=heads,
        n_kv_heads=r.choice([*_KEY_HEADS[heads], None]), mlp_hidden_size=r.choice([5, 8, 16, 33]),
        vocab_size=vocabulary, embedding_size=r.choice([None, padded]), max_sequence_length=512,
        rope_theta=r.choice([10.0, 10000.0, 500000.0]), weight_tying=r.random() < 0.3,
        init_std=r.choice([0.02, 0.1, 0.4, 1.0]), mask_token_id=mask,
        eos_token_id=r.choice([i for i in range(vocabulary) if i != mask]),
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LLaDA(config)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln_f" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval().requires_grad_(False)


def _rule(r: random.Random, length: int, blocks: int) -> CommitRule:
    anchor = r.random()
    return r.choice(
        [
            lambda: FixedQuota(r.randint(blocks, max(blocks, length + 3))),
            lambda: TimestepQuota(
                r.randint(blocks, max(blocks, length + 3)), r.choice([1e-3, 0.2])
            ),
            lambda: Threshold(r.choice([0.0, 0.1, 0.3, 0.5, 0.9, 1.1])),
            lambda: Threshold(r.random(), r.random() * 0.3, r.random() * 0.2),
            lambda: Factor(r.random() * 2),
            lambda: Factor(r.random() * 2, commit_last=False),
            lambda: EntropyBound(r.choice([0.0, 0.1, 0.5, 2.0, 10.0])),
            lambda: LocalLeap(anchor, anchor * r.random(), r.randint(0, 4)),
            lambda: Hierarchical(anchor, anchor * r.random()),
        ]
    )()


def _steps(r: random.Random, commit: CommitRule, blocks: int, length: int) -> int | None:
    return r.randint(blocks, length + 2) if r.random() < 0.3 else None


def _options(r: random.Random, config: LLaDAConfig, with_audio: bool) -> SamplingOptions:
    count = config.num_embeddings
    eos = r.choice(["allow", "allow", "forbid", "delay", "exclude"])
    ends = None
    if r.random() < 0.3 and count > 6:
        other = r.choice([i for i in range(count) if i != config.mask_token_id])
        ends = tuple({config.eos_token_id, other})
    confidence = r.choice(["max_probability", "margin", "entropy", "random"])
    if count < 4:  # too few tokens to take any out
        eos, confidence = "allow", "max_probability"
    guidance = None
    if r.random() < 0.35:
        hidden = "audio" if with_audio and r.random() < 0.5 else "text"
        guidance = ClassifierFreeGuidance(r.choice([0.3, 1.0, 2.5]), hidden)
    credit = None
    if r.random() < 0.2:
        credit = TraceCredit(r.random() * 2, r.random(), r.random() * 0.95)
    return SamplingOptions(
        temperature=r.choice([0.0, 0.0, 0.0, 0.3, 1.0, 2.5]), guidance=guidance,
        confidence=confidence, eos=eos, end_token_ids=ends, eos_stop=r.random() < 0.5,
        credit=credit, trace=True,
    )  # fmt: skip
