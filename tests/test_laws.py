"""Laws that span several parts, and the whole pipeline against the original."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import WhisperConfig

import dllm_audio
from dllm_audio import (
    AcousticAdapter,
    AudioDiffusionLM,
    AudioEmbeddings,
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    DualAdapter,
    Factor,
    LLaDA,
    LLaDAConfig,
    LowConfidenceSampler,
    MaskedDiffusionLoss,
    PromptedSemanticAdapter,
    SemanticAdapter,
    Threshold,
    WhisperEncoder,
    condition,
)
from dllm_audio.checkpoints import from_published
from parity import load_golden, load_golden_json
from small_parts import EOS, MASK, VOCAB, random_audio, same, small_llada

SETTINGS = load_golden_json("diffa_config")


@pytest.fixture(scope="module")
def original() -> AudioDiffusionLM:
    """The original's toy model, put together from parts by hand."""
    weights = load_golden("diffa_weights")
    encoder = WhisperEncoder(WhisperConfig(**SETTINGS["whisper"]))
    encoder.model.load_state_dict(
        {n.removeprefix("whisper_model."): t for n, t in weights.items() if "whisper_model" in n}
    )
    adapters = from_published({n: t for n, t in weights.items() if "whisper_model" not in n})
    width = SETTINGS["whisper"]["d_model"]
    heads = SETTINGS["whisper"]["encoder_attention_heads"]
    adapter = DualAdapter(
        SemanticAdapter(width, 64), AcousticAdapter(width, 64, SETTINGS["target_layer_ids"], heads)
    )
    adapter.load_state_dict({n: t for n, t in adapters.items() if n != "prompts"})
    llada = LLaDA(LLaDAConfig.from_dict(load_golden_json("llada_config")))
    llada.load_state_dict(
        {LLaDA.names.native(n): t for n, t in load_golden("llada_weights").items()}
    )
    return AudioDiffusionLM.from_parts(encoder, adapter, llada).eval()


@torch.no_grad()
def test_from_features_to_the_training_loss_as_in_the_original(original: AudioDiffusionLM) -> None:
    io = load_golden("diffa_io")
    audio = original.encode_audio(io["mel"], io["mel_mask"].sum(-1))
    assert audio.lengths.tolist() == (io["encoder_lengths"] // 4 + 64).tolist()
    for row, length in enumerate(audio.lengths.tolist()):
        same(audio.embeds[row, :length], io["speech_stage2"][row, :length], 1e-4)

    # The original lets the padding of its audio be seen, so both rows get all of it here.
    sound = io["speech_stage2"]
    audio = AudioEmbeddings(sound, torch.full((2,), sound.shape[1]))
    clean, noisy, masked = io["sft_clean_ids"], io["sft_noisy_ids"], io["sft_mask"]
    lengths, starts = io["sft_prompt_lengths"].tolist(), io["sft_audio_start"]
    total = clean.shape[1]
    columns, response = max(lengths), total - min(lengths)
    prompt_ids = torch.zeros(2, columns, dtype=torch.long)
    prompt_mask = torch.zeros(2, columns, dtype=torch.bool)
    x_0, x_t = torch.zeros(2, 2, response, dtype=torch.long)
    mask, real = torch.zeros(2, 2, response, dtype=torch.bool)
    for row, length in enumerate(lengths):
        prompt_ids[row, columns - length :] = clean[row, :length]
        prompt_mask[row, columns - length :] = True
        x_0[row, : total - length] = clean[row, length:]
        x_t[row, : total - length] = noisy[row, length:]
        mask[row, : total - length] = masked[row, length:]
        real[row, : total - length] = True
    predictor = original.condition(
        prompt_ids, audio, starts, prompt_mask=prompt_mask, response_mask=real
    )
    assert torch.equal(x_0.masked_fill(mask, predictor.mask_token_id)[real], x_t[real])
    logits = predictor(x_t)
    for row, length in enumerate(lengths):
        expected = io["sft_logits"][row, length + sound.shape[1] :]
        same(logits[row, : total - length], expected, 1e-4)
    output = MaskedDiffusionLoss()(predictor, x_0, mask, io["sft_t"], real)
    same(output.loss, io["sft_loss"][0], 1e-4)
    implied = MaskedDiffusionLoss()(predictor, x_0, mask, io["sft_t"])
    assert torch.equal(implied.loss, output.loss)


@torch.no_grad()
def test_audio_of_stage_1_as_in_the_original(original: AudioDiffusionLM) -> None:
    io, weights = load_golden("diffa_io"), load_golden("diffa_weights")
    adapter = PromptedSemanticAdapter(original.adapter.semantic)
    adapter.prompts.copy_(weights["trainable_prompts.weight"])
    audio = adapter(original.encoder(io["mel"], io["mel_mask"].sum(-1)))
    for row, length in enumerate(audio.lengths.tolist()):
        same(audio.embeds[row, :length], io["speech_stage1"][row, :length], 1e-4)


SAMPLERS = {
    "low confidence": LowConfidenceSampler(5, 8),
    "blocks": BlockSampler(8, 8, 4),
    "threshold and prefix cache": CachedParallelSampler(8, 4, Threshold(0.3)),
    "factor and dual cache": CachedParallelSampler(8, 4, Factor(1.0), cache="dual"),
    "guided by text": LowConfidenceSampler(4, 8, guidance=ClassifierFreeGuidance(0.8)),
    "guided by audio": CachedParallelSampler(
        8, 4, Threshold(0.3), guidance=ClassifierFreeGuidance(0.8, "audio")
    ),
}
LLADA = small_llada(n_kv_heads=2)
case = st.tuples(st.integers(1, 5), st.integers(1, 4), st.floats(0, 1))


def conditioned(rows: list[tuple], only: int | None = None) -> tuple[object, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(r[0] for r in rows))
    columns = max(r[0] for r in rows)
    prompt_ids = torch.randint(VOCAB - 2, (len(rows), columns), generator=generator)
    prompt_mask = torch.arange(columns) >= columns - torch.tensor([r[0] for r in rows])[:, None]
    audio = random_audio([r[1] for r in rows])
    start = torch.tensor([round(r[2] * r[0]) for r in rows])
    if only is not None:
        length = rows[only][0]
        prompt_ids, prompt_mask = prompt_ids[only : only + 1, columns - length :], None
        sound = audio.embeds[only : only + 1, : rows[only][1]]
        audio, start = AudioEmbeddings(sound, audio.lengths[only : only + 1]), start[only][None]
    predictor = condition(
        LLADA, prompt_ids, prompt_mask=prompt_mask, audio=audio, audio_start=start
    )
    return predictor, prompt_ids, audio.embeds


@pytest.mark.parametrize("name", SAMPLERS)
@settings(max_examples=3)
@given(rows=st.lists(case, min_size=2, max_size=3))
def test_a_batch_equals_its_rows_and_nothing_given_is_changed(name: str, rows: list) -> None:
    sampler = SAMPLERS[name]
    predictor, prompt_ids, sound = conditioned(rows)
    before = prompt_ids.clone(), sound.clone(), predictor.prompt.embeds.clone()
    weights = [parameter.clone() for parameter in LLADA.parameters()]
    output = sampler(predictor)
    assert torch.equal(prompt_ids, before[0])
    assert torch.equal(sound.nan_to_num(-9), before[1].nan_to_num(-9))
    assert torch.equal(predictor.prompt.embeds, before[2])
    assert all(map(torch.equal, LLADA.parameters(), weights))
    assert not (output.tokens == MASK).any()
    for i in range(len(rows)):
        alone = sampler(conditioned(rows, only=i)[0])
        assert torch.equal(alone.tokens[0], output.tokens[i])
        assert alone.lengths[0] == output.lengths[i]


@torch.no_grad()
def test_a_step_needs_no_word_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value of a tensor reaches Python in a pass or when rows leave the batch."""
    predictor, *_ = conditioned([(3, 2, 0.5), (5, 1, 0.0)])
    cache, x_t = predictor.new_cache(6), torch.full((2, 6), MASK)
    rows, window = torch.tensor([1]), torch.arange(2, 4)

    def refused(*_: object) -> None:
        raise AssertionError("a host synchronization")

    # On the CPU asking costs nothing, and padded rows are attended one by one; this is the branch
    # that a device takes.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for name in ("item", "tolist", "__bool__", "__int__", "__float__", "cpu", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, refused)
    predictor(x_t, cache=cache)
    predictor(x_t, torch.tensor([[2], [3]]), cache=cache, window=window)
    fewer = predictor.select(rows)
    fewer(x_t[:1], window, cache=cache.keep(predictor.cache_rows(rows)), window=window)


def test_no_token_id_is_written_in_the_source() -> None:
    literal = re.compile(r"\b(126336|126081|126348)\b")
    package = Path(dllm_audio.__file__).parent
    found = [p for p in package.rglob("*.py") if literal.search(p.read_text(encoding="utf-8"))]
    assert found == []


def test_ids_come_from_the_backbone() -> None:
    predictor, *_ = conditioned([(1, 1, 0.0)])
    assert (predictor.mask_token_id, predictor.eos_token_id) == (MASK, EOS)
    other = condition(small_llada(mask_token_id=5, eos_token_id=6), torch.zeros(1, 1).long())
    assert not (LowConfidenceSampler(2, 4)(other).tokens == 5).any()
