"""A server on a free port of the loopback address, in a thread of its own."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile
from openai import OpenAI

from dllm_audio import AudioDiffusionLM
from dllm_audio.serving.server import Server
from dllm_audio.serving.settings import ServerSettings

NAME = "small"
INSTRUCTION = "What is said?"


@contextmanager
def serving(model: AudioDiffusionLM, **limits: Any) -> Iterator[Running]:
    """A server, up to the end of the block."""
    settings = ServerSettings(NAME, INSTRUCTION, **{"timeout": 3600.0, **limits})
    server = Server(model, settings, "127.0.0.1", 0)
    address = server.address
    listening = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(listening.set,))
    thread.start()
    listening.wait()
    running = Running(server, thread, address)
    try:
        yield running
    finally:
        running.client.close()
        server.stop()
        thread.join()


class Running:
    """A server that listens."""

    def __init__(self, server: Server, thread: threading.Thread, address: tuple[str, int]) -> None:
        self.server = server
        self.service = server.service
        self.thread = thread
        self.address = address
        self.client = self.new_client()

    def new_client(self, **options: Any) -> OpenAI:
        host, port = self.address
        given = {"api_key": "none", "max_retries": 0, "timeout": None, **options}
        return OpenAI(base_url=f"http://{host}:{port}/v1", **given)

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address)
        try:
            kind = method or ("GET" if body is None else "POST")
            connection.request(kind, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    def chat(self, values: object, **headers: str) -> Answer:
        body = values if isinstance(values, bytes) else json.dumps(values).encode()
        given = {"Content-Type": "application/json", **headers}
        return self.ask("/v1/chat/completions", body, given)


class Answer:
    """What came back."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = {name.lower(): value for name, value in headers.items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error


def wav(seconds: float, rate: int = 16000, pitch: float = 300.0) -> bytes:
    """A tone as a file."""
    time = np.arange(round(seconds * rate)) / rate
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * pitch * time), rate, format="WAV")
    return file.getvalue()


def sound_block(data: bytes, form: str = "wav") -> dict[str, Any]:
    sound = {"data": base64.b64encode(data).decode(), "format": form}
    return {"type": "input_audio", "input_audio": sound}


def question(text: str, *sounds: bytes) -> list[dict[str, Any]]:
    """Messages of one turn."""
    blocks = [sound_block(data) for data in sounds]
    return [{"role": "user", "content": [*blocks, {"type": "text", "text": text}]}]


def form_of(fields: Mapping[str, str], sound: bytes | None) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers."""
    mark = "the-boundary"
    pieces = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if sound is not None:
        head = 'Content-Disposition: form-data; name="file"; filename="clip.wav"'
        kind = "Content-Type: audio/wav"
        pieces.append(f"--{mark}\r\n{head}\r\n{kind}\r\n\r\n".encode() + sound + b"\r\n")
    body = b"".join([*pieces, f"--{mark}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={mark}"}
