"""The server's HTTP interface: OpenAI's endpoints, health and metrics."""

from __future__ import annotations

import asyncio
import hmac
import math
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..model import AudioDiffusionLM
from .answering import Answered, Draft, Growing, Show, answer, transcribe
from .bodies import json_body, read_body
from .chat import ChatRequest, Chunks, completion, read_chat
from .engine import AbandonedError, Engine, Ticket, TimeUpError, Work
from .forms import read_form
from .metrics import Metrics
from .refusals import ApiError, translated
from .settings import ServerSettings
from .streams import DONE, EventStream, unless_gone
from .transcription import read_transcription, render

_Drafts: TypeAlias = AsyncGenerator[Draft, None]
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Service:
    """A model behind HTTP.

    Args:
        model: answers; in evaluation mode from now on.
        settings: limits.

    Attributes:
        open: requests that were taken and have not come to their end.
        stopping: nothing more is taken.
    """

    def __init__(self, model: AudioDiffusionLM, settings: ServerSettings) -> None:
        self.model = model
        self.settings = settings
        self.metrics = Metrics()
        self.engine = Engine(model, settings.max_batch, self.metrics.batch)
        self.open = 0
        self.stopping = False
        self._created = int(time.time())
        self._seeds = torch.Generator().manual_seed(settings.seed)
        self._usual = 1.0  # seconds that a request takes, a moving mean

    def drain(self) -> None:
        """Refuse what waits and whatever comes; what is in work goes on."""
        self.stopping = True
        self.engine.drain()

    def close(self) -> None:
        """End, once what is in work is done."""
        self.stopping = True
        self.engine.close()

    # -- What every request for an answer goes through.

    async def answered(
        self, request: Request, endpoint: str, handle: Callable[[Request, _Visit], Awaitable[Any]]
    ) -> Response:
        """Take a request, or say why not."""
        visit = _Visit(self, endpoint)
        try:
            self.authorize(request)
            visit.enter()
            response: Response = await handle(request, visit)
        except BaseException as error:
            refusal = translated(error, blame=visit.blame)
            visit.leave(refusal.status)
            if refusal.status == 500:
                raise
            return refused(refusal)
        if not isinstance(response, EventStream):  # which leaves when it is over
            visit.leave(response.status_code)
        return response

    def authorize(self, request: Request) -> None:
        """Refuse who has no key."""
        key = self.settings.api_key
        if key is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            raise ApiError(
                401,
                "authorization: expected 'Bearer' and the server's API key",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def chat(self, request: Request, visit: _Visit) -> Response:
        """``POST /v1/chat/completions``."""
        body = await read_body(request, self.settings.max_bytes, visit.deadline)
        values = json_body(request, body)
        asked = await run_in_threadpool(read_chat, values, self.model, self.settings, self._seed())
        visit.asks(asked.decoding.own, asked.seconds)
        identifier, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        if asked.stream:
            chunks = Chunks(identifier, created, self.settings.name)
            return self._stream(asked, chunks, visit)
        ticket = visit.submit(_chat_work(asked, None))
        found = await visit.result(request, ticket)
        visit.heard(found)
        return JSONResponse(completion(identifier, created, self.settings.name, found))

    def _stream(self, asked: ChatRequest, chunks: Chunks, visit: _Visit) -> Response:
        loop = asyncio.get_running_loop()
        drafts: asyncio.Queue[Draft | None] = asyncio.Queue()

        def pass_on(draft: Draft | None) -> None:
            loop.call_soon_threadsafe(drafts.put_nowait, draft)

        ticket = visit.submit(_chat_work(asked, pass_on))
        ticket.result.add_done_callback(lambda _: pass_on(None))

        async def events() -> AsyncGenerator[Any, None]:
            grown = Growing()
            yield chunks.first()
            async for draft in visit.until_deadline(drafts):
                yield chunks.step(grown.grow(draft.known), draft)
            try:
                if not ticket.result.done():
                    raise TimeUpError("the request took longer than the server's limit")
                found = ticket.result.result()
            except Exception as error:
                refusal = translated(error, blame=visit.blame)
                visit.status = refusal.status
                yield refusal.body()
            else:
                visit.heard(found)
                visit.status = 200
                yield chunks.last(grown.finish(found.text), found)
                if asked.usage:
                    yield chunks.usage(found)
            yield DONE

        return EventStream(events(), lambda: visit.leave(visit.status))

    async def transcriptions(self, request: Request, visit: _Visit) -> Response:
        """``POST /v1/audio/transcriptions``."""
        body = await read_body(request, self.settings.max_bytes, visit.deadline)
        texts, files = read_form(request.headers.get("content-type", ""), body)
        asked = await run_in_threadpool(
            read_transcription, texts, files, self.model, self.settings, self._seed()
        )
        visit.asks(asked.decoding.own, asked.seconds)
        work = partial(
            transcribe,
            windows=asked.windows,
            instruction=asked.instruction,
            decoding=asked.decoding,
        )
        segments = await visit.result(request, visit.submit(work))
        for segment in segments:
            visit.heard(segment.answered)
        text, media = render(asked, segments)
        return Response(text, media_type=media)

    def models(self) -> dict[str, Any]:
        """``GET /v1/models``."""
        found = {"id": self.settings.name, "object": "model", "created": self._created}
        return {"object": "list", "data": [{**found, "owned_by": "dllm-audio"}]}

    def rendered_metrics(self) -> str:
        """``GET /metrics``."""
        engine = self.engine
        return self.metrics.render(
            {
                "dllm_audio_requests_running": engine.running,
                "dllm_audio_requests_waiting": engine.waiting,
            }
        )

    def _seed(self) -> int:
        """For a request that names none."""
        return int(torch.randint(2**62, (), generator=self._seeds))

    def took(self, seconds: float) -> None:
        """An answer took so long."""
        self._usual += 0.1 * (seconds - self._usual)

    def retry_after(self) -> int:
        """Seconds after which a row is likely to be free."""
        rounds = (1 + self.settings.max_queue) / self.settings.max_batch
        return max(1, min(math.ceil(self._usual * rounds), math.ceil(self.settings.timeout)))


def _chat_work(asked: ChatRequest, show: Show | None) -> Work[Answered]:
    messages = {"messages": [asked.conversation]}
    return lambda row: answer(row, messages, asked.decoding, show)


class _Visit:
    """One request from its coming to its end."""

    def __init__(self, service: Service, endpoint: str) -> None:
        self._service = service
        self._endpoint = endpoint
        self._began = time.monotonic()
        self._inside = False
        self._left = False
        self._ticket: Ticket[Any] | None = None
        self.deadline = self._began + service.settings.timeout
        self.blame = False
        self.status = 499

    def enter(self) -> None:
        """Be one of those that are open, where there is room."""
        service, settings = self._service, self._service.settings
        if service.stopping:
            raise ApiError(503, "the server is stopping; try again later", code="stopping")
        if service.open >= settings.max_batch + settings.max_queue:
            raise ApiError(
                429,
                f"the server has {settings.max_batch} requests in work and "
                f"{settings.max_queue} waiting; try again later",
                code="queue_full",
                headers={"Retry-After": str(service.retry_after())},
            )
        service.open += 1
        self._inside = True

    def leave(self, status: int) -> None:
        """Make room, and count."""
        if self._left:
            return
        self._left = True
        if self._ticket is not None:
            self._service.engine.cancel(self._ticket)
        seconds = time.monotonic() - self._began
        if self._inside:
            self._service.open -= 1
        if status == 200:
            self._service.took(seconds)
        self._service.metrics.request(self._endpoint, status, seconds)

    def asks(self, own: bool, seconds: float) -> None:
        """What is known of it once it is read."""
        self.blame = own
        self._service.metrics.add("dllm_audio_audio_seconds_total", seconds)

    def heard(self, found: Answered) -> None:
        """An answer."""
        self._service.metrics.add("dllm_audio_answer_tokens_total", found.tokens)

    def submit(self, work: Work[Any]) -> Ticket[Any]:
        """Put it in line."""
        self._ticket = self._service.engine.submit(work, self.deadline - time.monotonic())
        return self._ticket

    async def result(self, request: Request, ticket: Ticket[Any]) -> Any:
        """What came of it.

        Raises:
            AbandonedError: the client is gone.
            TimeUpError: it takes too long.
        """
        result = asyncio.wrap_future(ticket.result)
        left = self.deadline - time.monotonic()
        try:
            there = await asyncio.wait_for(unless_gone(request, asyncio.shield(result)), left)
        except asyncio.TimeoutError:
            raise TimeUpError("the request took longer than the server's limit") from None
        if not there:
            raise AbandonedError("the client is gone")
        return result.result()

    async def until_deadline(self, drafts: asyncio.Queue[Draft | None]) -> _Drafts:
        """Drafts as they come, up to the end or the deadline."""
        while True:
            try:
                draft = await asyncio.wait_for(drafts.get(), self.deadline - time.monotonic())
            except asyncio.TimeoutError:
                return
            if draft is None:
                return
            yield draft


def build_app(service: Service) -> FastAPI:
    """The application, for any ASGI server."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await service.answered(request, "chat", service.chat)

    @app.post("/v1/audio/transcriptions")
    async def transcriptions(request: Request) -> Response:
        return await service.answered(request, "transcriptions", service.transcriptions)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        service.authorize(request)
        return JSONResponse(service.models())

    @app.get("/health")
    async def health() -> Response:
        state = {
            "status": "stopping" if service.stopping else "ok",
            "running": service.engine.running,
            "waiting": service.engine.waiting,
        }
        return JSONResponse(state, 503 if service.stopping else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.rendered_metrics(), media_type=_METRICS_TYPE)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return refused(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return refused(ApiError(error.status_code, f"path: {error.detail}", "path"))

    @app.exception_handler(Exception)
    async def any_error(request: Request, error: Exception) -> Response:
        return refused(translated(error))

    return app


def refused(error: ApiError) -> Response:
    """A response that says why there is no answer."""
    return JSONResponse(error.body(), error.status, headers=error.headers)
