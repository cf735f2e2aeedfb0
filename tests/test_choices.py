"""``generate(choices=...)``: the answer is one of the given texts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dllm_audio import AudioDiffusionLM, CachedParallelSampler, ClassifierFreeGuidance, toy
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.toy import clips
from small_parts import character_tokenizer, small_model

CHOICES = ["Yes", "No", "ab", "a"]
PROMPTS = ["What?", "Who are you? Say it.", "A"]


@pytest.fixture(scope="module")
def model() -> AudioDiffusionLM:
    return small_model(character_tokenizer()).eval()


def test_the_shipped_model_picks_what_it_hears() -> None:
    shipped = toy.small_model()
    known = {clip.name: clip for clip in clips()}
    sounds = ["beeping", "a drum", "a dog", "rain"]
    found = shipped.generate(
        audio=[known["beeps"].path], prompts=["Which sound do you hear?"], choices=sounds
    )
    assert found.texts == ["beeping"]
    assert found.choice_probabilities is not None
    assert found.choice_probabilities[0][0] > 0.5
    assert found.output.tokens.shape == (1, shipped.default_sampler().gen_length)
    assert shipped.decode(found.output) == found.texts


def test_rows_may_share_their_choices_or_have_their_own(model: AudioDiffusionLM) -> None:
    shared = model.generate(prompts=PROMPTS, choices=CHOICES)
    listed = model.generate(prompts=PROMPTS, choices=[CHOICES] * 3)
    assert shared.choice_probabilities == listed.choice_probabilities
    assert shared.texts is not None
    assert shared.choice_probabilities is not None
    for text, found in zip(shared.texts, shared.choice_probabilities, strict=True):
        assert math.fsum(found) == pytest.approx(1.0)
        assert text == CHOICES[found.index(max(found))]
    decoded = [text.replace(" ", "") for text in model.decode(shared.output)]
    assert decoded == shared.texts
    own = model.generate(prompts=PROMPTS, choices=[CHOICES, CHOICES[:1], CHOICES[::-1]])
    assert own.choice_probabilities is not None
    assert own.choice_probabilities[0] == pytest.approx(shared.choice_probabilities[0])
    assert own.choice_probabilities[1] == [1.0]
    assert own.choice_probabilities[2][::-1] == pytest.approx(shared.choice_probabilities[2])


def test_every_way_of_asking_takes_choices(model: AudioDiffusionLM) -> None:
    clip = torch.randn(3000, generator=torch.Generator().manual_seed(0)) * 0.1
    content = [{"type": "audio", "audio": clip}, {"type": "text", "text": "What?"}]
    messages = [{"role": "user", "content": content}]
    inputs = model.processor.apply_chat_template(messages, tokenize=True, return_dict=True)
    ways: list[dict[str, Any]] = [
        {"prompts": "What?", "audio": clip},
        {"messages": messages},
        {"messages": [messages]},
        {**inputs},
    ]
    found = [model.generate(**way, choices=CHOICES).choice_probabilities for way in ways]
    assert found[0] == found[1] == found[2] == found[3]


def test_a_row_does_not_depend_on_its_batch(model: AudioDiffusionLM) -> None:
    clip = torch.randn(3000, generator=torch.Generator().manual_seed(0)) * 0.1
    audio = [clip, None, clip[:900]]
    own = [CHOICES, ["x"], ["longer text", "a"]]
    sampler = CachedParallelSampler(16, 16)
    together = model.generate(prompts=PROMPTS, audio=audio, choices=own, sampler=sampler)
    assert together.choice_probabilities is not None
    for row, prompt in enumerate(PROMPTS):
        alone = model.generate(
            prompts=prompt, audio=[audio[row]], choices=[own[row]], sampler=sampler
        )
        assert alone.choice_probabilities is not None
        assert alone.choice_probabilities[0] == pytest.approx(
            together.choice_probabilities[row], abs=1e-6
        )


def test_the_sampler_s_length_and_guidance_count(model: AudioDiffusionLM) -> None:
    found = {
        name: model.generate(prompts="What?", choices=CHOICES, sampler=sampler)
        for name, sampler in (
            ("short", CachedParallelSampler(8, 8)),
            ("long", CachedParallelSampler(12, 4)),
            ("guided", CachedParallelSampler(8, 8, guidance=ClassifierFreeGuidance(2.0))),
        )
    }
    assert found["long"].output.tokens.shape == (1, 12)
    assert found["short"].choice_probabilities != found["long"].choice_probabilities
    assert found["short"].choice_probabilities != found["guided"].choice_probabilities


def test_the_space_around_a_choice_is_no_part_of_it(model: AudioDiffusionLM) -> None:
    plain = model.generate(prompts="What?", choices=["Yes", "No"])
    spaced = model.generate(prompts="What?", choices=[" Yes\n", "No "])
    assert spaced.choice_probabilities == plain.choice_probabilities
    assert spaced.texts == plain.texts


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "choices: expected at least one text"),
        ([[], ["a"], ["a"]], r"choices\[0\]: expected at least one text"),
        ([""], r"choices\[0\]: expected a text that is not empty"),
        (["a", "  "], r"choices\[1\]: expected a text that is not empty"),
        (["a", 5], r"choices\[1\]: expected a text"),
        (["a", None], r"choices\[1\]: expected a text"),
        (["a", ["b"]], r"choices\[1\]: expected a text"),
        ([["a"], ["a"], ["a", "a"]], r"choices\[2\]\[1\]: expected another text than choices\[2\]"),
        (["a", "b", "a "], r"choices\[2\]: expected another text than choices\[0\]"),
        (["a<|eot_id|>"], r"choices\[0\]: expected text without the chat marker <\|eot_id\|>"),
        (["<|mdm_mask|>"], r"choices\[0\]: expected text without the chat marker"),
        (["<|endoftext|>"], r"choices\[0\]: expected text without the chat marker"),
        ([["a"], ["b"]], r"choices: expected one list a row \(3\), got 2"),
        ([["a"], ["b"], None], r"choices\[2\]\[0\]: expected a text"),
        ("a", "choices: expected a list of texts, or one such list a row, got str"),
        (7, "choices: expected a list of texts"),
        (["a" * 8], r"choices\[0\]: expected at most gen_length \(8\) tokens"),
    ],
)
def test_what_is_no_choice_is_refused(model: AudioDiffusionLM, choices: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        model.generate(prompts=PROMPTS, choices=choices)


def test_what_choosing_does_not_use_is_refused(model: AudioDiffusionLM) -> None:
    with pytest.raises(InvalidArgumentError, match="choices: expected None with"):
        model.generate(prompts="a", choices=["a"], generator=torch.Generator())
    with pytest.raises(InvalidArgumentError, match="by: expected one of"):
        model.generate(prompts="a", choices=["a"], choose_by="mean")
    with pytest.raises(InvalidArgumentError, match="tokenizer"):
        small_model().generate(input_ids=torch.tensor([[1]]), choices=["a"])
