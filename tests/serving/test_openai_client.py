"""OpenAI's own client gets the answers that ``model.generate`` gives."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from openai import AuthenticationError, NotFoundError
from running import INSTRUCTION, NAME, Running, serving, sound_block

from dllm_audio import AudioDiffusionLM, Threshold, load_audio, toy
from dllm_audio.samplers import CachedParallelSampler, LowConfidenceSampler, Sampler

CLIPS = {clip.name: clip for clip in toy.clips()}
QUESTIONS = [(clip.path, question.prompt) for clip in toy.clips() for question in clip.questions]


def messages(path: Path, text: str) -> list[Any]:
    blocks = [sound_block(path.read_bytes(), "ogg"), {"type": "text", "text": text}]
    return [{"role": "user", "content": blocks}]


def plain(path: Path, text: str) -> list[Any]:
    """The same as the library takes it."""
    blocks = [{"type": "audio", "audio": path}, {"type": "text", "text": text}]
    return [{"role": "user", "content": blocks}]


def alone(model: AudioDiffusionLM, path: Path, text: str, **options: Any) -> Any:
    return model.generate(messages=[plain(path, text)], **options)


def test_a_question_is_answered_as_by_generate(running: Running, model: AudioDiffusionLM) -> None:
    path, text = QUESTIONS[0]
    found = running.client.chat.completions.create(model=NAME, messages=messages(path, text))
    expected = alone(model, path, text)
    (choice,) = found.choices
    assert (choice.message.role, choice.message.content) == ("assistant", expected.texts[0])
    assert choice.finish_reason == "stop"
    assert found.model == NAME
    assert found.usage is not None
    row = expected.output.tokens[0].tolist()
    ends = [token in model.end_token_ids for token in row]
    assert found.usage.completion_tokens == ends.index(True)
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.model_extra["denoising"]["passes"] == expected.output.nfe


def test_many_at_once_are_answered_as_by_generate(
    running: Running, model: AudioDiffusionLM
) -> None:
    """Mixed lengths, samplers and streams, more of them than rows."""
    samplers: list[Sampler | None] = [
        None,
        LowConfidenceSampler(6, 12),
        CachedParallelSampler(16, 8, Threshold(0.7), cache="dual"),
    ]
    asked = [(*each, samplers[n % 3], n % 2 == 1) for n, each in enumerate(QUESTIONS[:9])]

    def ask(case: Any) -> tuple[str, int]:
        path, text, sampler, stream = case
        extra = {} if sampler is None else {"sampler": sampler.to_dict()}
        given = {"model": NAME, "messages": messages(path, text), "extra_body": extra}
        create: Any = running.client.chat.completions.create
        if not stream:
            found = create(**given)
            return found.choices[0].message.content, found.model_extra["denoising"]["passes"]
        content, passes = "", 0
        for chunk in create(**given, stream=True):
            content += chunk.choices[0].delta.content or ""
            passes = (chunk.model_extra or {}).get("denoising", {}).get("passes", passes)
        return content, passes

    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(ask, asked))
    for (path, text, sampler, _), answer in zip(asked, found, strict=True):
        expected = alone(model, path, text, sampler=sampler)
        assert answer == (expected.texts[0], expected.output.nfe)


def test_drawn_answers_hang_on_their_seed_alone(running: Running, model: AudioDiffusionLM) -> None:
    path, text = QUESTIONS[0]
    given: Any = {"model": NAME, "messages": messages(path, text), "temperature": 1.5, "seed": 7}

    def ask(_: int) -> str | None:
        return running.client.chat.completions.create(**given).choices[0].message.content

    with ThreadPoolExecutor(3) as pool:
        (found,) = set(pool.map(ask, range(3)))
    described = {**model.default_sampler().to_dict(), "temperature": 1.5}
    from dllm_audio.samplers import from_dict

    generator = torch.Generator().manual_seed(7)
    expected = alone(model, path, text, sampler=from_dict(described), generator=generator)
    assert found == expected.texts[0]


def test_a_stream_shows_the_denoising(running: Running, model: AudioDiffusionLM) -> None:
    path, text = CLIPS["four_digits"].path, "What is said?"
    sampler = LowConfidenceSampler(8, 16)
    stream = running.client.chat.completions.create(
        model=NAME,
        messages=messages(path, text),
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"sampler": sampler.to_dict()},
    )
    chunks = list(stream)
    *pieces, usage = chunks
    content = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert content == alone(model, path, text, sampler=sampler).texts[0]
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in pieces[-2:]] == [None, "stop"]
    drafts = [chunk.model_extra["denoising"] for chunk in pieces[1:]]  # type: ignore[index]
    assert [draft["passes"] for draft in drafts] == [*range(1, 9), 8]
    assert "_" in drafts[0]["draft"]
    assert drafts[-1]["draft"] == content
    assert not usage.choices
    assert usage.usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(running: Running) -> None:
    path, text = QUESTIONS[0]
    found = running.chat({"messages": messages(path, text), "stream": True})
    assert found.status == 200
    assert found.headers["content-type"].startswith("text/event-stream")
    events = found.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: ") for event in events[:-1])


def long_recording() -> bytes:
    """Three clips with silence between them, as long as three windows."""
    sounds = [load_audio(CLIPS[name].path) for name in ("four_digits", "command", "four_digits")]
    padded = [torch.nn.functional.pad(sound, (0, 64000 - len(sound))) for sound in sounds[:2]]
    file = io.BytesIO()
    soundfile.write(file, torch.cat([*padded, sounds[2]]).numpy(), 16000, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def recording() -> bytes:
    return long_recording()


def expected_segments(model: AudioDiffusionLM, recording: bytes) -> list[tuple[float, float, str]]:
    from dllm_audio.audio import stream_windows

    windows = list(stream_windows(io.BytesIO(recording), model.encoder.window_seconds))
    return [
        (w.start, w.end, model.generate(audio=[w.waveform], prompts=[INSTRUCTION]).texts[0])
        for w in windows
    ]


def test_a_recording_is_transcribed(
    running: Running, model: AudioDiffusionLM, recording: bytes
) -> None:
    create: Any = running.client.audio.transcriptions.create
    file = ("long.wav", recording)
    expected = expected_segments(model, recording)
    assert len(expected) > 1
    text = " ".join(each[2] for each in expected)
    assert create(model=NAME, file=file).text == text
    assert create(model=NAME, file=file, response_format="text").strip() == text
    verbose = create(model=NAME, file=file, response_format="verbose_json", language="en")
    assert verbose.text == text
    assert verbose.language == "en"
    assert verbose.duration == pytest.approx(expected[-1][1], abs=1e-3)
    found = [(each.start, each.end, each.text) for each in verbose.segments]
    assert [each[2] for each in found] == [each[2] for each in expected]
    for segment, (start, end, _) in zip(found, expected, strict=True):
        assert segment[:2] == pytest.approx((start, end), abs=1e-3)
    srt = create(model=NAME, file=file, response_format="srt")
    assert srt.startswith("1\n00:00:00,000 --> ")
    vtt = create(model=NAME, file=file, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> ")
    for each in expected:
        assert each[2] in srt
        assert each[2] in vtt


def test_a_prompt_and_a_sampler_for_a_recording(running: Running, model: AudioDiffusionLM) -> None:
    clip, text = CLIPS["beeps"], "Which sound do you hear?"
    found = running.client.audio.transcriptions.create(
        model=NAME,
        file=("beeps.ogg", clip.path.read_bytes()),
        prompt=text,
        temperature=0,
        extra_body={"sampler": "multiple-choice"},
    )
    assert found.text == model.generate(audio=[clip.path], prompts=[text]).texts[0]


def test_conversations_and_rows_without_sound(running: Running, model: AudioDiffusionLM) -> None:
    turns: list[Any] = [
        {"role": "developer", "content": "You are a helpful voice assistant."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Is the speaker a man or a woman?"},
    ]
    found = running.client.chat.completions.create(
        model=NAME, messages=turns, max_completion_tokens=4
    )
    expected = [{**turns[0], "role": "system"}, *turns[1:]]
    described = {**model.default_sampler().to_dict(), "gen_length": 4, "block_length": 4}
    from dllm_audio.samplers import from_dict

    answer = model.generate(messages=[expected], sampler=from_dict(described))
    assert found.choices[0].message.content == answer.texts[0]


def test_models_health_and_metrics(running: Running) -> None:
    assert [each.id for each in running.client.models.list()] == [NAME]
    assert running.ask("/health").json["status"] == "ok"
    path, text = QUESTIONS[0]
    running.client.chat.completions.create(model=NAME, messages=messages(path, text))
    lines = running.ask("/metrics").body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['dllm_audio_requests_total{endpoint="chat",status="200"}']) >= 1
    assert float(values["dllm_audio_batch_rows_total"]) >= float(values["dllm_audio_batches_total"])
    assert values["dllm_audio_requests_running"] == "0"
    buckets = [v for n, v in values.items() if n.startswith("dllm_audio_request_seconds_bucket")]
    assert buckets
    with pytest.raises(NotFoundError, match="expected small, got large"):
        running.client.chat.completions.create(model="large", messages=messages(path, text))


def test_a_key_is_asked_for(model: AudioDiffusionLM) -> None:
    with serving(model, max_batch=1, api_key="secret") as running:
        with pytest.raises(AuthenticationError) as refused:
            running.client.models.list()
        assert refused.value.type == "authentication_error"
        assert running.chat({}).status == 401
        assert running.ask("/health").status == 200
        with running.new_client(api_key="secret") as client:
            assert [each.id for each in client.models.list()] == [NAME]
