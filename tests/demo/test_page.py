"""The page with gradio: offline, bounded, private; the command; the Space."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dllm_audio.cli import build_parser, main
from dllm_audio.cli.exit_codes import ERROR
from dllm_audio.serving.listening import url_of

SPACE = Path(__file__).parents[2] / "examples" / "space"


def fetch(url: str, data: bytes | None = None) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), ""


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("server", "page"):
        monkeypatch.delitem(sys.modules, f"dllm_audio.demo.{name}", raising=False)
    assert main(["demo"]) == ERROR
    error = capsys.readouterr().err
    assert "gradio is needed for the demo page" in error
    assert "pip install 'dllm-audio[demo]'" in error


def test_it_listens_at_the_loopback_address_and_is_never_shared() -> None:
    assert build_parser().parse_args(["demo"]).host == "127.0.0.1"
    with pytest.raises(SystemExit):
        build_parser().parse_args(["demo", "--share"])


def test_the_page_asks_nobody_else(served) -> None:
    status, headers, html = fetch(url_of(served.address))
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "is_analytics" not in html or '"analytics_enabled":true' not in html
    loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?://[^\"]*)", html)
    assert [each for each in loaded if "127.0.0.1" not in each] == []


def test_nothing_is_open_to_programs(served) -> None:
    _, _, config = fetch(f"{url_of(served.address)}/config")
    found = json.loads(config)
    assert found["analytics_enabled"] is False
    assert {each["api_visibility"] for each in found["dependencies"]} == {"private"}
    status, _, _ = fetch(f"{url_of(served.address)}/gradio_api/file=/etc/passwd")
    assert status in (403, 404)


def test_a_request_is_bounded(served) -> None:
    sending = http.client.HTTPConnection(*served.address)
    sending.putrequest("POST", "/gradio_api/queue/join")
    sending.putheader("content-length", "4000000")
    sending.endheaders()
    assert sending.getresponse().status == 413
    sending.close()


def test_a_request_of_no_told_size_is_bounded() -> None:
    pytest.importorskip("gradio")
    from dllm_audio.demo.server import Guard

    heard = []

    async def app(scope, receive, send) -> None:
        while (message := await receive())["type"] == "http.request":
            heard.append(len(message["body"]))

    async def receive():
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    asyncio.run(Guard(app, 1000)({"type": "http", "headers": []}, receive, None))
    assert sum(heard) <= 1000


def test_the_space_builds_the_page() -> None:
    gradio = pytest.importorskip("gradio")
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.page, gradio.Blocks)
    header = (SPACE / "README.md").read_text(encoding="utf-8").split("---")[1]
    fields = dict(line.split(": ", 1) for line in header.strip().splitlines())
    assert (fields["sdk"], fields["app_file"]) == ("gradio", "app.py")
    pins = (SPACE.parents[1] / "constraints.txt").read_text(encoding="utf-8")
    assert f"gradio=={fields['sdk_version']}\n" in pins
    assert (SPACE / "requirements.txt").read_text(encoding="utf-8") == "dllm-audio[demo]\n"


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop() -> None:
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "dllm_audio.cli", "demo", "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as running:
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        assert fetch(told["url"])[0] == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 0
