"""Serves the page from this machine alone: nothing is fetched from, or sent to, anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..serving.listening import listen
from .page import appearance
from .settings import DemoSettings

_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
_FORM_BYTES = 1_000_000  # what a request holds beside a file
_LOOKS = 0.05  # seconds between looks at whether it listens
_GOODBYE_SECONDS = 2  # browsers keep a connection open for as long as the page is


class Guard:
    """Bounds the bodies of requests, and tells browsers to ask this server alone.

    Args:
        app: what it guards.
        max_bytes: of a body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._most = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > self._most:
            head = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": head})
            body = f"expected a request of at most {self._most} bytes".encode()
            await send({"type": "http.response.body", "body": body})
            return
        got = 0

        async def bounded() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return message if got <= self._most else {"type": "http.disconnect"}

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = _POLICY
                headers["referrer-policy"] = "no-referrer"
            await send(message)

        await self._app(scope, bounded, marked)


class DemoServer(uvicorn.Server):
    """Serves a page until it is told to stop.

    Args:
        page: from :func:`.build_page`.
        settings: its limits.
        host: address to listen at.
        port: 0 takes a free one.

    Raises:
        InvalidArgumentError: an address that cannot be listened at.
    """

    def __init__(self, page: gr.Blocks, settings: DemoSettings, host: str, port: int) -> None:
        self._socket = listen(host, port)
        mounted = gr.mount_gradio_app(
            FastAPI(),
            page,
            path="",
            max_file_size=settings.max_bytes,
            show_error=False,
            run_history=False,
            **appearance(),
        )
        super().__init__(
            uvicorn.Config(
                Guard(mounted, settings.max_bytes + _FORM_BYTES),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GOODBYE_SECONDS,
            )
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        found = self._socket.getsockname()
        return str(found[0]), int(found[1])

    def serve_forever(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until a signal, or until ``should_exit`` is set.

        Args:
            ready: called when it listens.
        """
        asyncio.run(self._until_told(ready))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first one stops, the second one ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def _until_told(self, ready: Callable[[], None]) -> None:
        telling = asyncio.create_task(self._tell(ready))
        try:
            await self.serve(sockets=[self._socket])
        finally:
            telling.cancel()
            self._socket.close()

    async def _tell(self, ready: Callable[[], None]) -> None:
        while not self.started:
            await asyncio.sleep(_LOOKS)
        ready()
