"""Whatever is wrong with a request, its client learns what; the server goes on.

``FUZZ_CASES=1000`` makes the search long, and ``FUZZ_FIRST=500`` begins with case 500.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from malformed import CHAT, TRANSCRIPTIONS, malformed
from running import Running, form_of, question, sound_block, wav

from long_search import FIRST, cases

GOOD = {"messages": question("What is said?", wav(0.3))}


def is_refused(running: Running, number: int) -> None:
    path, body, headers = malformed(number)
    found = running.ask(path, body, headers)
    told = f"case {number}: {path} {body[:300]!r} {headers}: {found.status} {found.body[:300]!r}"
    assert 400 <= found.status < 500, told
    error = found.error
    assert error["message"], told
    assert len(error["message"]) < 1000, told
    assert ": expected" in error["message"] or error["param"], told


def test_malformed_requests_are_refused_with_a_reason(running: Running) -> None:
    for number in range(FIRST, FIRST + cases(105)):
        is_refused(running, number)
    assert running.service.open == 0
    assert running.service.engine.running == 0
    assert running.chat(GOOD).status == 200


def turn(**changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello?", **changes}]}


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "messages"),
        ([], "body"),
        ({"messages": []}, "messages"),
        (turn(role="tool"), "messages[0].role"),
        (turn(role="assistant"), "messages"),
        (turn(content=5), "messages[0].content"),
        (turn(content=[]), "messages[0].content"),
        (turn(path="/etc/hostname"), "messages[0].path"),
        (turn(content=[{"type": "audio", "audio": "/etc/x"}]), "messages[0].content[0].type"),
        (turn(content=[{"type": "audio", "url": "http://x/"}]), "messages[0].content[0].type"),
        (
            turn(content=[{"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}]),
            "messages[0].content[0].input_audio.data",
        ),
        (
            turn(content=[{"type": "input_audio", "input_audio": {"data": "", "format": "exe"}}]),
            "messages[0].content[0].input_audio.format",
        ),
        (turn(content="say <audio> twice"), "messages[0].content[0]"),
        (turn(content="word " * 3000), "messages"),
        ({**GOOD, "n": 2}, "n"),
        ({**GOOD, "temperature": 3}, "temperature"),
        ({**GOOD, "max_tokens": 10**9}, "max_tokens"),
        ({**GOOD, "max_tokens": 1024}, "gen_length"),
        ({**GOOD, "sampler": "no such"}, "sampler"),
        ({**GOOD, "sampler": {"gen_length": 2**20, "steps": 1}}, "sampler.gen_length"),
        ({**GOOD, "sampler": {"gen_length": 8, "steps": 4, "end_token_ids": [100_000]}},
         "sampler.end_token_ids"),
        ({**turn(), "sampler": {"gen_length": 8, "steps": 8, "guidance": {
            "scale": 1, "unconditional": "audio"}}}, "unconditional"),
        ({**GOOD, "stream_options": {"include_usage": True}}, "stream_options"),
        ({**GOOD, "top_k": 3}, "top_k"),
    ],
)  # fmt: skip
def test_the_field_is_named(running: Running, values: object, param: str) -> None:
    found = running.chat(values)
    assert found.status == 400, found.body
    assert found.error["type"] == "invalid_request_error"
    assert found.error["param"] == param, found.body


@pytest.mark.parametrize(
    ("fields", "sound", "param"),
    [
        ({}, None, "file"),
        ({"response_format": "xml"}, wav(0.3), "response_format"),
        ({"temperature": "warm"}, wav(0.3), "temperature"),
        ({"stream": "true"}, wav(0.3), "stream"),
        ({"timestamp_granularities[]": "word"}, wav(0.3), "timestamp_granularities[]"),
        ({"sampler": '{"gen_length": 0}'}, wav(0.3), "sampler"),
        ({"top_k": "3"}, wav(0.3), "top_k"),
        ({}, b"no sound", "file"),
        ({}, b"", "file"),
        ({}, wav(0.3)[:30], "file"),
    ],
)
def test_the_field_of_a_form_is_named(
    running: Running, fields: dict[str, str], sound: bytes | None, param: str
) -> None:
    body, headers = form_of(fields, sound)
    found = running.ask(TRANSCRIPTIONS, body, headers)
    assert found.status == 400, found.body
    assert found.error["param"] == param, found.body


def test_other_paths_and_methods_are_refused_in_the_same_form(running: Running) -> None:
    assert running.ask("/v1/no-such").status == 404
    assert running.ask("/v1/no-such").error["param"] == "path"
    assert running.ask(CHAT, method="GET").status == 405
    assert running.ask("/docs").status == 404  # nothing that loads scripts from elsewhere
    form, headers = form_of({}, wav(0.3))
    assert running.ask(CHAT, form, headers).status == 415
    assert running.ask(TRANSCRIPTIONS, b"{}", {"Content-Type": "application/json"}).status == 415


def test_settings_that_give_no_numbers_are_the_clients_fault(running: Running) -> None:
    guided = {"gen_length": 8, "steps": 8, "guidance": {"scale": 1e38, "unconditional": "text"}}
    found = running.chat({**GOOD, "sampler": guided})
    assert found.status in (200, 400), found.body


def test_what_breaks_inside_is_told_to_nobody(running: Running, monkeypatch, caplog) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of /etc/hostname")

    monkeypatch.setattr(running.service.model, "prepare", broken)
    found = running.chat(GOOD)
    assert (found.status, found.error["code"]) == (500, "internal_error")
    assert b"secret" not in found.body
    while "the secret" not in caplog.text:  # but to whoever runs the server, in a moment
        time.sleep(0.01)
    monkeypatch.undo()
    assert running.chat(GOOD).status == 200


def test_a_body_may_say_nothing(running: Running) -> None:
    for path in (CHAT, TRANSCRIPTIONS):
        assert 400 <= running.ask(path, b"").status < 500
    assert running.chat(json.dumps("text")).error["param"] == "body"
    assert sound_block(b"")["input_audio"]["data"] == ""
