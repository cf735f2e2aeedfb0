"""Requests that are wrong, made from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

from running import form_of, question, sound_block, wav

CHAT, TRANSCRIPTIONS = "/v1/chat/completions", "/v1/audio/transcriptions"
Case = tuple[str, bytes, dict[str, str]]
JSON = {"Content-Type": "application/json"}

_ODD: list[Any] = [
    None, True, -1, 0, 10**40, -(10**18), 1e308, float("nan"), float("inf"), "", "x" * 3000,
    "\x00", "\ud800", "<audio>", "<|eot_id|>", [], {}, [[]], [None], {"a": {"b": []}}, [1] * 500,
]  # fmt: skip
_NAMES = [
    "model", "messages", "stream", "stream_options", "temperature", "seed", "max_tokens",
    "max_completion_tokens", "sampler", "n", "top_p", "stop", "tools", "response_format", "user",
]  # fmt: skip
_SETTINGS = [
    "gen_length", "block_length", "steps", "commit", "cache", "temperature", "guidance", "eos",
    "end_token_ids", "confidence", "credit", "context", "length", "no-such-key",
]  # fmt: skip
_FORM = [
    "model", "prompt", "language", "response_format", "temperature", "seed", "sampler", "stream",
    "timestamp_granularities[]", "file", "no such field", "max_tokens",
]  # fmt: skip


def malformed(number: int) -> Case:
    """The path, body and headers of one request that must get a 4xx and a reason."""
    draw = random.Random(number)
    makers = (_odd_field, _odd_message, _odd_sampler, _odd_audio, _cut_json, _odd_form, _cut_form)
    return makers[number % len(makers)](draw)


def _body(values: object) -> Case:
    return CHAT, json.dumps(values).encode(), dict(JSON)


def _good() -> dict[str, Any]:
    return {"messages": question("What is said?", wav(0.3, 8000))}


def _odd_field(draw: random.Random) -> Case:
    values = _good()
    name = draw.choice(_NAMES)
    odd = draw.choice([each for each in _ODD if each is not None])
    if name in ("stop", "user"):
        odd = [1, 2]
    if name in ("temperature", "seed") and odd in (0, -1, True, -(10**18)):
        odd = "warm"
    if (name, str(odd)) in {("stream", "True"), ("tools", "[]")}:
        odd = 1.5
    if name == "top_p" and odd is True:
        odd = 2
    values[name] = odd
    return _body(values)


def _odd_message(draw: random.Random) -> Case:
    values = _good()
    turn = values["messages"][0]
    odd = draw.choice([each for each in _ODD if each not in ("", "\x00", "x" * 3000)])
    where = draw.randrange(7)
    if where == 0:
        turn["role"] = draw.choice(["system", "tool", "assistant", odd])
    elif where == 1:
        turn["content"] = odd if not isinstance(odd, str) else [odd]
    elif where == 2:
        turn["content"][0] = odd
    elif where == 3:
        turn["content"][1] = {"type": draw.choice(["image_url", "audio", "file", 5]), "path": "/x"}
    elif where == 4:
        turn["content"][1]["text"] = odd if not isinstance(odd, str) else None
    elif where == 5:
        turn["url"] = "file:///etc/hostname"
    else:
        values["messages"] = odd
    if where == 0 and turn["role"] == "system":
        turn["content"] = "no user says anything"
    return _body(values)


def _odd_sampler(draw: random.Random) -> Case:
    sampler: dict[str, Any] = {"gen_length": 8, "steps": 4}
    name = draw.choice(_SETTINGS)
    sampler[name] = draw.choice(
        [10**9, -5, "no such", [2**31 - 1], {"name": "no-such"}, {"kind": "exact"}, 1e300, [[]]]
    )
    if (name == "steps" and sampler[name] == 10**9) or name == "end_token_ids":
        sampler[name] = [2**31 - 1]
    if name == "temperature" and sampler[name] == 10**9:
        sampler[name] = 2.5
    return _body({**_good(), "sampler": sampler})


def _odd_audio(draw: random.Random) -> Case:
    sound = wav(0.3, 8000)
    which = draw.randrange(7)
    if which == 0:
        data = draw.randbytes(draw.randrange(2000))
    elif which == 1:
        data = sound[: draw.randrange(44)]
    elif which == 2:
        data = b"RIFF" + draw.randbytes(60)
    elif which == 3:
        data = b"fLaC" + draw.randbytes(200)
    elif which == 4:
        data = b"OggS" + draw.randbytes(200)
    elif which == 5:
        data = b"<html>no sound</html>"
    else:
        block = sound_block(sound)
        block["input_audio"]["data"] = draw.choice(
            ["not base64!", "QUJD" * 3 + "=", 5, None, "/etc/passwd", "http://x/y.wav", "\u00e9"]
        )
        return _body({"messages": [{"role": "user", "content": [block]}]})
    if draw.random() < 0.5:
        body, headers = form_of({}, data)
        return TRANSCRIPTIONS, body, headers
    return _body({"messages": question("What is said?", data)})


def _cut_json(draw: random.Random) -> Case:
    text = json.dumps(_good()).encode()
    which = draw.randrange(6)
    if which == 0:
        body = text[: draw.randrange(len(text))]
    elif which == 1:
        place = draw.randrange(len(text))
        body = text[:place] + b"\xff\xfe" + text[place:]
    elif which == 2:
        body = b"[" * draw.randrange(1, 5000)
    elif which == 3:
        body = b'{"messages": [], "messages": []}'
    elif which == 4:
        body = b'{"seed": ' + b"9" * draw.randrange(400, 9000) + b"}"
    else:
        return CHAT, text, {"Content-Type": draw.choice(["text/plain", "", "application/xml"])}
    return CHAT, body, dict(JSON)


def _odd_form(draw: random.Random) -> Case:
    name = draw.choice(_FORM)
    value = draw.choice(["", "nan", "-1e999", "9" * 50, "{", "[]", '{"gen_length": 0}', "x" * 5000])
    if name in ("language", "file", "prompt", "model", "response_format"):
        value = {"prompt": "p" * 5000, "response_format": "xml", "language": ""}.get(name, "other")
    with_sound = name not in ("language", "file") and draw.random() < 0.8
    body, headers = form_of({name: value}, wav(0.3, 8000) if with_sound else None)
    return TRANSCRIPTIONS, body, headers


def _cut_form(draw: random.Random) -> Case:
    body, headers = form_of({"model": "small"}, wav(0.3, 8000))
    which = draw.randrange(4)
    if which == 0:
        # Up to the last boundary: behind it nothing is missing.
        body = body[: draw.randrange(body.rindex(b"--the-boundary"))]
    elif which == 1:
        headers = {"Content-Type": draw.choice(["multipart/form-data", "multipart/mixed", "x"])}
    elif which == 2:
        headers = {"Content-Type": "multipart/form-data; boundary=another"}
    else:
        body = draw.randbytes(500)
    return TRANSCRIPTIONS, body, headers
