"""Run the server, and stop it so that nothing in work is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType

import uvicorn

from ..model import AudioDiffusionLM
from .app import Service, build_app
from .listening import listen
from .settings import ServerSettings

_LOOKS = 0.05  # seconds between looks at what is still in work


class Server(uvicorn.Server):
    """Serves a model until it is told to stop.

    The first SIGTERM or SIGINT refuses what waits and whatever comes with 503 and finishes what is
    in work; a second one ends at once.

    Args:
        model: answers.
        settings: limits.
        host: address to listen at.
        port: 0 takes a free one.

    Attributes:
        address: where it listens.

    Raises:
        InvalidArgumentError: an address that cannot be listened at.
    """

    def __init__(
        self, model: AudioDiffusionLM, settings: ServerSettings, host: str, port: int
    ) -> None:
        self._socket = listen(host, port)
        self.service = Service(model, settings)
        super().__init__(
            uvicorn.Config(
                build_app(self.service),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_keep_alive=75,
            )
        )
        self._told: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        found = self._socket.getsockname()
        return str(found[0]), int(found[1])

    def serve_forever(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until it is told to stop and has finished what was in work.

        Args:
            ready: called when it listens.
        """
        asyncio.run(self._serve_until_told(ready))

    def stop(self) -> None:
        """Tell it to stop, from any thread; see the class."""
        loop, told = self._loop, self._told
        if loop is not None and told is not None and not loop.is_closed():
            loop.call_soon_threadsafe(told.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first one stops, the second one ends at once."""
        if self.service.stopping:
            self.force_exit = self.should_exit = True
        else:
            self.service.stopping = True
            self.stop()

    async def _serve_until_told(self, ready: Callable[[], None]) -> None:
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        stopping = asyncio.create_task(self._stop_when_told(ready))
        try:
            await self.serve(sockets=[self._socket])
        finally:
            stopping.cancel()
            self._socket.close()
            if not self.force_exit:
                self.service.close()

    async def _stop_when_told(self, ready: Callable[[], None]) -> None:
        while not self.started:
            await asyncio.sleep(_LOOKS)
        ready()
        if self._told is not None:
            await self._told.wait()
        self.service.drain()
        while self.service.open and not self.should_exit:
            await asyncio.sleep(_LOOKS)
        self.should_exit = True
