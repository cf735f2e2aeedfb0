"""Random models, batches and samplers, and everything that must hold of what they decode.

A case is a number: the same number makes the same case on every machine. ``check(case)`` lists what
does not hold; ``describe(case)`` tells what the case was.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
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
CACHES = (None, "prefix", "dual", "prefix-response", "dual-response")


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

    def decode(self, cache: str | None, interval: int | None) -> SamplerOutput:
        return self.sampler(cache, interval)(self.together(), **self.arguments())

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


def check(case: Case) -> list[str]:
    """What does not hold of a case; nothing, if all is well."""
    output = case.decode(case.cache, case.interval)
    return [
        *_check_output(case, output),
        *_check_trace(case, output),
        *_check_stream(case, output),
        *_check_rows(case, output),
        *_check_caches(case),
    ]


def _check_output(case: Case, output: SamplerOutput) -> list[str]:
    bad, config = [], case.model.config
    sampler, first = case.sampler(case.cache, case.interval), case.first_tokens()
    masked = first == config.mask_token_id
    if (output.tokens == config.mask_token_id).any():
        bad.append("a mask is left")
    if not torch.equal(output.tokens[~masked], first[~masked]):
        bad.append("a given token changed")
    most = sum(int(masked[:, a:b].sum(-1).max()) for a, b in sampler.bounds())
    if not case.commit.may_wait and output.nfe > most:
        bad.append("more passes than masks")
    planned = sampler.plan()
    if None not in planned and output.nfe > sum(steps or 0 for steps in planned):
        bad.append("more passes than planned")
    if case.steps is not None and output.nfe > case.steps:
        bad.append("more passes than steps")
    if int(output.row_nfe.max()) > output.nfe:
        bad.append("a row took more passes than the batch")
    for row in range(case.rows):
        tokens = output.tokens[row].tolist()
        end = tokens.index(config.eos_token_id) if config.eos_token_id in tokens else len(tokens)
        if int(output.lengths[row]) != end:
            bad.append(f"row {row}: length")
        behind = masked[row, end:]
        if (
            case.options.eos_stop
            and not (output.tokens[row, end:][behind] == config.eos_token_id).all()
        ):
            bad.append(f"row {row}: something else behind the end")
    return bad


def _check_trace(case: Case, output: SamplerOutput) -> list[str]:
    bad, trace, config = [], output.trace, case.model.config
    assert trace is not None
    given = case.first_tokens() != config.mask_token_id
    committed = trace.step >= 0
    if (committed & given).any():
        bad.append("a given token was committed")
    if not torch.equal(trace.confidence.isnan(), ~committed):
        bad.append("confidence without commit, or the other way round")
    rest = ~committed & ~given
    if rest.any() and not case.options.eos_stop:
        bad.append("uncommitted without an early stop")
    if not (output.tokens[rest] == config.eos_token_id).all():
        bad.append("filled with something else than the end")
    for row in range(case.rows):
        steps = trace.step[row][committed[row]]
        passes = steps.unique().numel()
        if passes > int(output.row_nfe[row]) or (steps >= output.nfe).any():
            bad.append(
                f"row {row}: {passes} passes that committed, {int(output.row_nfe[row])} in all"
            )
        sure = trace.confidence[row, : int(output.lengths[row])]
        expected = sure[~sure.isnan()].mean()
        if not torch.allclose(output.confidence[row], expected, atol=1e-5, equal_nan=True):
            bad.append(f"row {row}: confidence of the answer")
    if case.options.eos == "forbid":
        ends = case.options.end_token_ids or (config.eos_token_id,)
        if set(output.tokens[committed].tolist()) & set(ends):
            bad.append("a forbidden end was committed")
    return bad


def _check_stream(case: Case, output: SamplerOutput) -> list[str]:
    bad, mask = [], case.model.config.mask_token_id
    assert output.trace is not None
    sampler = case.sampler(case.cache, case.interval)
    seen, last = None, None
    for passes, last in enumerate(sampler.stream(case.together(), **case.arguments()), 1):
        if last.output is not None:
            break
        if last.nfe != passes:
            bad.append("the stream counts otherwise")
        if seen is not None and not torch.equal(last.tokens[seen != mask], seen[seen != mask]):
            bad.append("a committed token changed")
        seen = last.tokens
        known = (output.trace.step >= 0) & (output.trace.step < last.nfe)
        if not torch.equal(last.tokens[known], output.tokens[known]):
            bad.append("the stream and the trace disagree")
    if last is None or last.output is None or not same(last.output, output):
        bad.append("the stream ends otherwise")
    return bad


def _check_rows(case: Case, output: SamplerOutput) -> list[str]:
    """A row alone is the row in its batch."""
    bad = []
    sampler = case.sampler(case.cache, case.interval)
    for row in range(case.rows):
        alone = sampler(case.alone(row), **case.arguments(row))
        if not torch.equal(alone.tokens[0], output.tokens[row]):
            got = f"{alone.tokens[0].tolist()}, not {output.tokens[row].tolist()}"
            bad.append(f"row {row} alone: {got}")
            continue
        if int(alone.row_nfe[0]) != int(output.row_nfe[row]):
            bad.append(f"row {row} alone: {int(alone.row_nfe[0])} passes")
        assert alone.trace is not None
        assert output.trace is not None
        if order(alone.trace.step[0]) != order(output.trace.step[row]):
            bad.append(f"row {row} alone: another order")
        elif not torch.allclose(
            alone.trace.confidence[0], output.trace.confidence[row], 2e-3, 2e-3, equal_nan=True
        ):
            bad.append(f"row {row} alone: other confidences")
    return bad


def _check_caches(case: Case) -> list[str]:
    """Refreshed at every step a cache changes nothing; over one block the kinds are the same."""
    bad = []
    plain = case.decode(None, None)
    for cache in ("prefix", "dual"):
        if not same(case.decode(cache, 1), plain):
            bad.append(f"{cache}, refreshed at every step, is not no cache")
    kept = [case.decode(f"{cache}-response", 1) for cache in ("prefix", "dual")]
    if not same(*kept):
        bad.append("with the prompt kept, prefix and dual refreshed at every step differ")
    if case.block == case.gen_length:
        whole = [case.decode(cache, None) for cache in ("prefix", "prefix-response", "dual")]
        if not (same(whole[0], whole[1]) and same(whole[0], whole[2])):
            bad.append("over one block the caches differ")
    return bad


def same(one: SamplerOutput, two: SamplerOutput) -> bool:
    """Equal tokens, passes and order."""
    assert one.trace is not None
    assert two.trace is not None
    return (
        torch.equal(one.tokens, two.tokens)
        and one.nfe == two.nfe
        and torch.equal(one.trace.step, two.trace.step)
    )


def order(steps: Tensor) -> list[int]:
    """The steps of a row counted in its own passes."""
    own = sorted({step for step in steps.tolist() if step >= 0})
    return [own.index(step) if step >= 0 else -1 for step in steps.tolist()]


def describe(case: Case) -> str:
    config = {
        name: getattr(case.model.config, name)
        for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "init_std")
    }
    batch = f"prompts {case.prompts}, clips {case.clips}, start {case.start is not None}"
    return f"case {case.number}: {config}, {batch}, {case.sampler(case.cache, case.interval)}"
