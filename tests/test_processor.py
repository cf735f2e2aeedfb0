"""Conversations, processor inputs and prompts give the same answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from dllm_audio import AudioDiffusionLM
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.processor import AudioDiffusionProcessor
from small_parts import character_tokenizer, small_model


@pytest.fixture(scope="module")
def model() -> AudioDiffusionLM:
    return small_model(character_tokenizer()).eval()


def clip(samples: int, seed: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def asked(text: str, *clips: Any, system: str | None = None) -> list[dict[str, Any]]:
    blocks = [{"type": "audio", "audio": source} for source in clips]
    turn = {"role": "user", "content": [*blocks, {"type": "text", "text": text}]}
    return [*([{"role": "system", "content": system}] if system else []), turn]


def test_three_ways_to_ask_give_one_answer(model: AudioDiffusionLM) -> None:
    clips, texts = [clip(6400, 0), None, clip(1000, 1)], ["What?", "Who are you?", "A"]
    by_prompt = model.generate(prompts=texts, audio=clips)
    conversations = [
        asked(text, *([] if source is None else [source]))
        for text, source in zip(texts, clips, strict=True)
    ]
    by_message = model.generate(messages=conversations)
    inputs = model.processor.apply_chat_template(conversations, tokenize=True, return_dict=True)
    by_inputs = model.generate(**inputs)
    for other in (by_message, by_inputs):
        assert torch.equal(other.output.tokens, by_prompt.output.tokens)
        assert other.texts == by_prompt.texts
    assert inputs["audio_rows"].tolist() == [0, 2]


def test_a_row_of_several_clips_and_turns_does_not_depend_on_its_batch(
    model: AudioDiffusionLM,
) -> None:
    long = [
        *asked("One?", clip(2000, 3), system="Be brief."),
        {"role": "assistant", "content": "Two."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this"},
                {"type": "audio", "audio": (clip(900, 4).numpy(), 16000)},
                {"type": "text", "text": "or this:"},
                {"type": "audio", "audio": clip(5000, 5)},
            ],
        },
    ]
    rows = [long, asked("Hi"), asked("B?", clip(3000, 6), clip(100, 7))]
    batch = model.generate(messages=rows).output.tokens
    for row, conversation in enumerate(rows):
        assert torch.equal(model.generate(messages=conversation).output.tokens[0], batch[row])
    inputs = model.processor.apply_chat_template(rows, tokenize=True, return_dict=True)
    assert inputs["audio_rows"].tolist() == [0, 0, 0, 2, 2]
    assert torch.equal(model.generate(**inputs).output.tokens, batch)


def test_the_order_of_clips_counts(model: AudioDiffusionLM) -> None:
    first, second = clip(4000, 8), clip(4000, 9)
    logits = []
    for clips in ((first, second), (second, first)):
        predictor = model.prepare(messages=asked("A?", *clips))
        logits.append(predictor(torch.full((1, 4), predictor.mask_token_id)))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["path", "url", "array", "hub row", "tensor", "column"])
def test_a_clip_may_be_given_in_many_ways(
    model: AudioDiffusionLM, tmp_path: Path, kind: str
) -> None:
    waveform = (np.arange(3000) % 50 / 64 - 0.4).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    block: dict[str, Any] = {
        "path": {"path": str(tmp_path / "a.wav")},
        "url": {"url": str(tmp_path / "a.wav")},
        "array": {"audio": waveform},
        "hub row": {"audio": {"array": waveform, "sampling_rate": 16000}},
        "tensor": {"audio": torch.from_numpy(waveform)},
        "column": {"audio": torch.from_numpy(waveform)[None]},
    }[kind]
    turn = {"role": "user", "content": [{"type": "audio", **block}, {"type": "text", "text": "A"}]}
    expected = model.generate(prompts="A", audio=(waveform, 16000)).output.tokens
    assert torch.equal(model.generate(messages=[turn]).output.tokens, expected)


def test_the_text_is_the_template_filled_in(model: AudioDiffusionLM) -> None:
    text = model.processor.apply_chat_template(asked("What?", clip(100, 0)))
    header = "<|start_header_id|>{}<|end_header_id|>\n\n"
    assert text == (
        "<|startoftext|>" + header.format("system") + "You are a helpful voice assistant.<|eot_id|>"
        + header.format("user") + "This is the audio: <audio>. What?<|eot_id|>"
        + header.format("assistant")
    )  # fmt: skip
    without = model.processor.apply_chat_template(asked("Q"), add_generation_prompt=False)
    assert without.endswith("Q<|eot_id|>")


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("messages", "What?"),
        ("messages", []),
        ("messages[0]", [[]]),
        ("messages[0][0].role", [{"role": "robot", "content": "a"}]),
        ("messages[0][0]", [{"content": "a"}]),
        ("messages[0]", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        ("messages[0][0].content[0]", [{"role": "user", "content": [{"type": "image"}]}]),
        ("messages[0][0].content[0]", [{"role": "user", "content": [{"type": "audio"}]}]),
        (
            "messages[0][0].content[0]",
            [{"role": "user", "content": [{"type": "text", "text": "<audio>"}]}],
        ),
        ("messages", [{"role": "user", "content": "a <|mdm_mask|>"}]),
        (
            "messages[0][0].content",
            [
                {"role": "system", "content": [{"type": "audio", "audio": torch.zeros(9)}]},
                {"role": "user", "content": "a"},
            ],
        ),
    ],
)
def test_misuse_is_named(model: AudioDiffusionLM, name: str, messages: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        model.generate(messages=messages)
    assert caught.value.argument == name


def test_one_form_at_a_time(model: AudioDiffusionLM) -> None:
    for arguments in ({}, {"prompts": "a", "messages": asked("a")}):
        with pytest.raises(InvalidArgumentError, match="prompts"):
            model.generate(**arguments)
    with pytest.raises(InvalidArgumentError, match="audio"):
        model.generate(messages=asked("a"), audio=torch.zeros(100))


def test_a_processor_comes_back(model: AudioDiffusionLM, tmp_path: Path) -> None:
    processor = AudioDiffusionProcessor(character_tokenizer(), None, 8000, "Short answers.")
    processor.save_pretrained(tmp_path)
    loaded = AudioDiffusionProcessor.from_pretrained(tmp_path)
    assert (loaded.sampling_rate, loaded.system) == (8000, "Short answers.")
    assert loaded.apply_chat_template(asked("Q")) == processor.apply_chat_template(asked("Q"))
    (tmp_path / "processor_config.json").write_text('{"sampling_rate": "many"}')
    with pytest.raises(CheckpointError, match="sampling_rate"):
        AudioDiffusionProcessor.from_pretrained(tmp_path)


def test_auto_classes_load_a_saved_model(tmp_path: Path) -> None:
    model = small_model(character_tokenizer()).eval()
    model.save_pretrained(tmp_path / "model")
    model.backbone.save_pretrained(tmp_path / "llada")
    torch.save(model.generate(messages=asked("Who?")).output.tokens, tmp_path / "tokens.pt")
    script = f"""
import torch
import dllm_audio.auto
from transformers import AutoConfig, AutoModel, AutoProcessor
folder = {str(tmp_path / "model")!r}
model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
assert AutoConfig.from_pretrained(folder).adapter["name"] == "dual"
turn = {{"role": "user", "content": [{{"type": "text", "text": "Who?"}}]}}
inputs = processor.apply_chat_template([turn], tokenize=True, return_dict=True)
tokens = torch.load({str(tmp_path / "tokens.pt")!r})
assert torch.equal(model.generate(**inputs).output.tokens, tokens)
llada = AutoModel.from_pretrained({str(tmp_path / "llada")!r})
assert type(llada).__name__ == "LLaDA"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
