"""Bounds: of the queue, of sizes, of time; clients that go; a server that is told to stop."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from openai import RateLimitError
from running import NAME, Running, form_of, question, serving, wav

from dllm_audio import AudioDiffusionLM
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.serving.settings import ServerSettings

ASKED = {"messages": question("What is said?", wav(0.5))}
SLOWLY = {**ASKED, "sampler": {"gen_length": 64, "steps": 64}}


class Gate:
    """Holds every pass of a model's backbone until it is opened."""

    def __init__(self, model: AudioDiffusionLM) -> None:
        self.model = model
        self.opened = threading.Event()
        self.reached = threading.Event()

    def __call__(self, *_: object) -> None:
        self.reached.set()
        self.opened.wait()


@contextmanager
def gated(model: AudioDiffusionLM) -> Iterator[Gate]:
    gate = Gate(model)
    hook = model.backbone.blocks[0].register_forward_pre_hook(gate)
    try:
        yield gate
    finally:
        gate.opened.set()
        hook.remove()


def until(happens: Callable[[], bool]) -> None:
    while not happens():
        time.sleep(0.01)


def test_what_finds_no_room_is_told_when_to_come_again(model: AudioDiffusionLM) -> None:
    with serving(model, max_batch=1, max_queue=1) as running, gated(model) as gate:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(running.chat, ASKED)
            gate.reached.wait()
            second = pool.submit(running.chat, ASKED)
            until(lambda: running.service.engine.waiting == 1)
            refused = running.chat(ASKED)
            assert refused.status == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.error["type"] == "rate_limit_error"
            with pytest.raises(RateLimitError, match="1 requests in work and 1 waiting"):
                running.client.chat.completions.create(model=NAME, **ASKED)  # type: ignore[call-overload]
            assert running.ask("/health").json == {"status": "ok", "running": 1, "waiting": 1}
            gate.opened.set()
            assert [first.result().status, second.result().status] == [200, 200]
        assert running.chat(ASKED).status == 200  # there is room again


def test_what_is_too_large_is_refused_unread(running: Running) -> None:
    body = json.dumps(ASKED).encode() + b" " * 2_000_000
    refused = running.chat(body)
    assert (refused.status, refused.error["param"]) == (413, "body")
    # A body whose size nobody says beforehand is counted.
    pieces = [b" " * 100_000] * 25
    connection = http.client.HTTPConnection(*running.address)
    try:
        connection.request(
            "POST",
            "/v1/chat/completions",
            iter(pieces),
            {"Content-Type": "application/json"},
            encode_chunked=True,
        )
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):  # it did not wait for the rest
        pass
    finally:
        connection.close()


def test_sound_that_is_too_long_is_refused(running: Running) -> None:
    chat = running.chat({"messages": question("What is said?", wav(4.5))})
    path = "messages[0].content[0].input_audio.data"
    assert (chat.status, chat.error["param"], chat.error["code"]) == (413, path, "audio_too_long")
    several = running.chat({"messages": question("What?", *[wav(3.9, 4000)] * 6)})
    path = "messages[0].content[5].input_audio.data"
    assert (several.status, several.error["param"]) == (413, path)
    body, headers = form_of({}, wav(21.0, 4000))
    form = running.ask("/v1/audio/transcriptions", body, headers)
    assert (form.status, form.error["param"]) == (413, "file")


def test_a_request_that_takes_too_long_ends(model: AudioDiffusionLM) -> None:
    with serving(model, max_batch=1, max_queue=4) as running, gated(model) as gate:
        object.__setattr__(running.service.settings, "timeout", 2.0)
        ended = running.chat(ASKED)
        assert (ended.status, ended.error["code"]) == (504, "timeout")
        streamed = running.chat({**ASKED, "stream": True})  # waits behind the first one
        events = streamed.body.decode().split("\n\n")
        assert json.loads(events[-3].removeprefix("data: "))["error"]["code"] == "timeout"
        assert events[-2] == "data: [DONE]"
        object.__setattr__(running.service.settings, "timeout", 3600.0)
        gate.opened.set()
        assert running.chat(ASKED).status == 200  # the row is free again


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_frees_its_row(model: AudioDiffusionLM, stream: bool) -> None:
    with serving(model, max_batch=1, max_queue=4) as running:
        with gated(model) as gate:
            body = json.dumps({**SLOWLY, "stream": stream}).encode()
            sockets = [socket.create_connection(running.address) for _ in range(2)]
            for each in sockets:  # one is in work, one waits
                head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                each.sendall(head.encode() + body)
            gate.reached.wait()
            until(lambda: running.service.engine.waiting == 1)
            for each in sockets:
                each.close()
            until(lambda: running.service.open == 0)
            assert running.service.engine.waiting == 0
            before = passes_of(running)
        until(lambda: running.service.engine.running == 0)
        assert passes_of(running) <= before + 1  # the pass in which it was
        assert running.chat(ASKED).status == 200
        lines = running.ask("/metrics").body.decode()
        assert 'requests_total{endpoint="chat",status="499"} 2' in lines


def passes_of(running: Running) -> float:
    lines = running.ask("/metrics").body.decode().splitlines()
    values = [line for line in lines if line.startswith("dllm_audio_batches_total ")]
    return float(values[0].split()[1]) if values else 0.0


def test_told_to_stop_it_finishes_what_is_in_work(model: AudioDiffusionLM) -> None:
    with serving(model, max_batch=1, max_queue=4) as running, gated(model) as gate:
        kept = http.client.HTTPConnection(*running.address)  # a connection from before
        kept.request("GET", "/health")
        kept.getresponse().read()
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(running.chat, ASKED)
            gate.reached.wait()
            second = pool.submit(running.chat, ASKED)
            until(lambda: running.service.engine.waiting == 1)
            running.server.stop()
            refused = second.result()
            assert (refused.status, refused.error["code"]) == (503, "stopping")
            body = json.dumps(ASKED)
            kept.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            response = kept.getresponse()
            response.read()
            assert response.status == 503
            kept.close()
            assert running.ask("/health").status == 503
            gate.opened.set()
            assert first.result().status == 200
        running.thread.join()


def test_the_command_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "dllm_audio.cli", "serve", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["model"] == "dllm-audio-small"
        host, port = said["url"].removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        connection = http.client.HTTPConnection(host, int(port))
        body = json.dumps(ASKED)
        connection.request(
            "POST", "/v1/chat/completions", body, {"Content-Type": "application/json"}
        )
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch", 0), ("max_queue", -1), ("max_tokens", 1.5), ("timeout", 0.0),
        ("max_audio_seconds", float("inf")), ("max_request_mb", -1.0), ("api_key", " "),
    ],
)  # fmt: skip
def test_limits_are_limits(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        ServerSettings("small", "What?", **{name: value})


def test_an_address_in_use_is_named(running: Running, model: AudioDiffusionLM) -> None:
    from dllm_audio.serving.server import Server

    with pytest.raises(InvalidArgumentError, match=f"127.0.0.1:{running.address[1]}"):
        Server(model, ServerSettings("small", "?"), *running.address)
