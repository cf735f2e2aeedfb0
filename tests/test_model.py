"""The whole model on toy parts: answers, batches, arguments."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dllm_audio import AudioDiffusionLM, CachedParallelSampler, LowConfidenceSampler
from dllm_audio.errors import DllmAudioError, InvalidArgumentError
from dllm_audio.outputs import SamplerOutput
from dllm_audio.prompts import ConditionedPredictor
from dllm_audio.protocols import AudioEncoder
from small_parts import character_tokenizer, same, small_model


@pytest.fixture(scope="module")
def model() -> AudioDiffusionLM:
    return small_model(character_tokenizer()).eval()


def clip(samples: int, seed: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


CLIPS = [clip(6400, 0), None, clip(1000, 1), clip(3000, 2)]
PROMPTS = ["What?", "Who are you? Say it.", "A", "Is <audio> loud?"]


def test_a_batch_of_mixed_clips_is_each_row_alone(model: AudioDiffusionLM) -> None:
    batch = model.generate(prompts=PROMPTS, audio=CLIPS)
    assert batch.texts is not None
    assert len(set(map(tuple, batch.output.tokens.tolist()))) > 1
    for i, (text, source) in enumerate(zip(PROMPTS, CLIPS, strict=True)):
        alone = model.generate(prompts=[text], audio=[source])
        assert torch.equal(alone.output.tokens[0], batch.output.tokens[i])
        assert alone.texts == [batch.texts[i]]


def test_the_audio_is_heard(model: AudioDiffusionLM) -> None:
    predictor = model.prepare(prompts=["A", "A", "A"], audio=[clip(6400, 0), clip(6400, 1), None])
    logits = predictor(torch.full((3, 4), predictor.mask_token_id))
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert (logits[0] - logits[2]).abs().max() > 1e-3


def test_the_default_sampler_follows_the_settings(model: AudioDiffusionLM) -> None:
    sampler = model.default_sampler()
    assert (sampler.gen_length, sampler.block_length) == (8, 4)
    output = model.generate(prompts="Who?").output
    assert output.tokens.shape == (1, 8)
    other = model.generate(prompts="Who?", sampler=LowConfidenceSampler(3, 6)).output
    assert other.tokens.shape == (1, 6)
    assert other.nfe == 3


@pytest.mark.parametrize("gen_length", [512, 2**20])
def test_a_response_beyond_the_model_is_refused_before_any_pass(
    model: AudioDiffusionLM, gen_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("memory is taken for it")

    for name in ("forward", "hidden", "new_cache"):
        monkeypatch.setattr(model.backbone, name, too_late)
    sampler = CachedParallelSampler(gen_length, 64)
    with pytest.raises(InvalidArgumentError, match=r"^gen_length: .*within 512 positions"):
        model.generate(prompts=["A", "Who?"], audio=CLIPS[:2], sampler=sampler)


def test_a_single_clip_serves_every_prompt_and_is_encoded_once(model: AudioDiffusionLM) -> None:
    encoded = []
    hook = model.encoder.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    try:
        shared = model.generate(prompts=["A", "What is it?"], audio=CLIPS[0])
    finally:
        hook.remove()
    assert encoded == [1]
    repeated = model.generate(prompts=["A", "What is it?"], audio=[CLIPS[0], CLIPS[0]])
    assert torch.equal(shared.output.tokens, repeated.output.tokens)


def test_a_single_prompt_is_asked_about_every_clip(model: AudioDiffusionLM) -> None:
    both = model.generate(prompts="What?", audio=[CLIPS[0], CLIPS[2]])
    written = model.generate(prompts=["What?", "What?"], audio=[CLIPS[0], CLIPS[2]])
    assert torch.equal(both.output.tokens, written.output.tokens)


def test_answers_do_not_depend_on_the_mode_and_leave_it_as_it_was() -> None:
    model = small_model(character_tokenizer())  # in training mode, with dropout in the adapter
    modes = {name: module.training for name, module in model.named_modules()}
    assert model.adapter.training
    assert not model.encoder.training
    first, second = (model.generate(prompts="A", audio=CLIPS[0]).output.tokens for _ in range(2))
    assert torch.equal(first, second)
    assert {name: module.training for name, module in model.named_modules()} == modes
    model.eval()
    assert torch.equal(model.generate(prompts="A", audio=CLIPS[0]).output.tokens, first)


@pytest.mark.parametrize("end", ["<|eot_id|>", "<|endoftext|>"])
def test_answers_are_cut_at_their_end_and_hold_no_markers(
    model: AudioDiffusionLM, end: str
) -> None:
    tokenizer = model.tokenizer
    ids = [tokenizer.encode(c)[0] for c in "ab"]
    marker, start = (tokenizer.convert_tokens_to_ids(t) for t in (end, "<|startoftext|>"))
    tokens = torch.tensor([[*ids, marker, *ids], [marker, *ids, *ids], [start, *ids, *ids]])
    zeros = torch.zeros(3, dtype=torch.long)
    texts = model.decode(SamplerOutput(tokens, zeros, 1, None, zeros, zeros.float()))
    expected = [tokenizer.decode(ids), "", tokenizer.decode([*ids, *ids])]
    assert texts == expected


def test_an_answer_differs_by_row_generator_only(model: AudioDiffusionLM) -> None:
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    sampler = LowConfidenceSampler(8, 8, temperature=1.0)
    both = model.generate(prompts=["A", "A"], sampler=sampler, generator=generators(1, 2)).output
    other = model.generate(prompts=["A"], sampler=sampler, generator=generators(2)).output
    assert torch.equal(both.tokens[1], other.tokens[0])
    assert not torch.equal(both.tokens[0], both.tokens[1])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("prompts", {"prompts": []}),
        ("prompts", {"prompts": [3]}),
        ("prompts", {"prompts": ["a", "b"], "audio": [CLIPS[0]]}),
        ("prompts", {"prompts": ["a"], "audio": [CLIPS[0], CLIPS[0]]}),
        ("prompts", {"prompts": "a", "audio": []}),
        ("instructions", {"prompts": "<audio>?"}),
        ("instructions", {"prompts": "a <audio> <audio>", "audio": CLIPS[0]}),
        ("instructions", {"prompts": "a <|eot_id|>"}),
    ],
)
def test_misuse_is_named(model: AudioDiffusionLM, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        model.generate(**arguments)
    assert caught.value.argument == name


@pytest.mark.parametrize(
    "audio",
    [
        torch.zeros(0),
        torch.full((800,), float("nan")),
        torch.zeros(2, 800),
        torch.zeros(16_000),  # longer than the window
        "missing.wav",
        b"noise",
        3,
    ],
    ids=["empty", "NaN", "two channels", "too long", "missing", "bytes", "number"],
)
def test_audio_that_cannot_be_used_is_refused(model: AudioDiffusionLM, audio: Any) -> None:
    with pytest.raises(DllmAudioError):
        model.generate(prompts="a", audio=audio)


def test_longer_clips_are_cropped_on_request(model: AudioDiffusionLM) -> None:
    long = clip(12_000, 5)
    cropped = model.generate(prompts="a", audio=long, crop=True).output.tokens
    assert torch.equal(cropped, model.generate(prompts="a", audio=long[:6400]).output.tokens)


def test_without_a_tokenizer_text_is_refused_and_ids_still_work() -> None:
    model = small_model().eval()
    with pytest.raises(InvalidArgumentError, match="tokenizer"):
        model.generate(prompts="a")
    audio = model.embed_audio([CLIPS[0], None])
    assert audio.lengths.tolist() == [20 // 4 + 3, 0]
    prompt_ids = torch.ones(2, 4, dtype=torch.long)
    predictor = model.condition(prompt_ids, audio, 2)
    output = LowConfidenceSampler(4, 4)(predictor)
    assert output.tokens.shape == (2, 4)


def test_embeddings_of_a_clip_do_not_depend_on_its_batch(model: AudioDiffusionLM) -> None:
    with torch.no_grad():
        batch = model.embed_audio(CLIPS)
        for i, source in enumerate(CLIPS):
            if source is None:
                assert batch.lengths[i] == 0
                continue
            alone = model.embed_audio([source])
            length = int(alone.lengths[0])
            assert batch.lengths[i] == length
            same(batch.embeds[i, :length], alone.embeds[0, :length])
    with pytest.raises(InvalidArgumentError, match="audio"):
        model.embed_audio([None])


def test_parts_are_put_together_with_a_sampler_of_ones_own() -> None:
    parts = small_model().parts()
    model = AudioDiffusionLM.from_parts(**parts)
    assert model.default_sampler().to_dict()["commit"]["settings"]["tau"] == 0.9
    sampler = LowConfidenceSampler(3, 6)
    assert AudioDiffusionLM.from_parts(**parts, sampler=sampler).default_sampler() is sampler


def test_two_threads_may_answer_with_a_model_in_training_mode() -> None:
    """One that ends earlier must not switch the dropout of the other on."""
    model = small_model(character_tokenizer())
    modes = {name: module.training for name, module in model.named_modules()}
    inside, finish = threading.Event(), threading.Event()
    seen: list[bool] = []

    def decode(predictor: ConditionedPredictor) -> SamplerOutput:
        inside.set()
        finish.wait()
        seen.append(any(module.training for module in model.modules()))
        return LowConfidenceSampler(2, 4)(predictor)

    later = threading.Thread(
        target=model.generate, kwargs={"prompts": "A", "sampler": decode}, daemon=True
    )

    def first(predictor: ConditionedPredictor) -> SamplerOutput:
        later.start()
        inside.wait()
        return LowConfidenceSampler(2, 4)(predictor)

    model.generate(prompts="A", sampler=first)  # type: ignore[arg-type]
    assert not any(module.training for module in model.modules())
    finish.set()
    later.join()
    assert seen == [False]
    assert {name: module.training for name, module in model.named_modules()} == modes


@pytest.mark.parametrize("rate", [16000, 16000.0, np.int64(16000), np.float32(16000)])
def test_samples_with_their_rate_are_one_clip_and_other_pairs_are_two(
    model: AudioDiffusionLM, rate: Any
) -> None:
    samples = clip(1000, 1)
    expected = model.generate(prompts="What?", audio=samples).output.tokens
    forms: list[Any] = [
        (samples, rate),
        (samples.numpy(), rate),
        {"array": samples.numpy(), "sampling_rate": rate},
        samples.numpy(),
        samples[None],
        [(samples, rate)],
        [samples],
        (samples,),
    ]
    for form in forms:
        assert torch.equal(model.generate(prompts="What?", audio=form).output.tokens, expected)
    pairs: list[Any] = [(samples, samples), [samples, samples], ((samples, rate), samples.numpy())]
    for form in pairs:
        found = model.generate(prompts="What?", audio=form).output.tokens
        assert torch.equal(found, expected.expand(2, -1))


def test_compiled_backbones_are_called_by_their_compiled_pass() -> None:
    """``torch.compile(model.backbone)`` and ``model.backbone.compile()`` alike."""
    for in_place in (False, True):
        model = small_model(character_tokenizer()).eval()
        expected = model.generate(prompts="A", audio=CLIPS[2])
        compiled: list[int] = []

        def back_end(
            graph: torch.fx.GraphModule, example_inputs: list[Tensor], found: Any = compiled
        ) -> Any:
            found.append(len(example_inputs))
            return graph.forward

        if in_place:
            model.backbone.compile(backend=back_end)
        else:
            model.backbone = torch.compile(model.backbone, backend=back_end)
        answer = model.generate(prompts="A", audio=CLIPS[2])
        assert compiled, "nothing was compiled"
        assert answer.texts == expected.texts
        assert torch.equal(answer.output.tokens, expected.output.tokens)


def test_what_is_no_encoder_is_none() -> None:
    assert isinstance(small_model().encoder, AudioEncoder)
    for thing in (len, torch.nn.Linear(2, 2), lambda features, lengths: None):
        assert not isinstance(thing, AudioEncoder)
