"""Which requests are in work, and which wait: a bounded number of each.

A lane is a thread that takes one request after another. As many lanes as there may be rows in work
wait for requests; the rows of those that decode meet for every pass (see :mod:`.meeting`), so that
a request that waits comes in as soon as another one is done, between two passes of the rest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch

from ..errors import DllmAudioError, InvalidArgumentError
from ..model import AudioDiffusionLM
from ..prompts import ConditionedPredictor
from .meeting import Meeting, Observer

Result = TypeVar("Result")


class RefusedError(DllmAudioError):
    """A request that waited when the server was told to stop."""


class AbandonedError(DllmAudioError):
    """A request whose client is gone."""


class TimeUpError(DllmAudioError):
    """A request that took longer than it may."""


class Row:
    """A request's place among those in work.

    Args:
        model: answers.
        meeting: where its passes are computed.
        check: raises where the request should end.
        preparing: held while audio is encoded, so that one request does so at a time.
    """

    def __init__(
        self,
        model: AudioDiffusionLM,
        meeting: Meeting,
        check: Callable[[], None],
        preparing: threading.Lock,
    ) -> None:
        self.model = model
        self._meeting = meeting
        self._check = check
        self._preparing = preparing

    @contextmanager
    def predictor(self, **asked: Any) -> Iterator[ConditionedPredictor]:
        """The predictor for one prompt, whose passes are shared with the other rows in work.

        Args:
            asked: as of ``AudioDiffusionLM.prepare``.
        """
        with self._preparing, torch.no_grad():
            self._check()
            predictor = self.model.prepare(**asked)
        with self._meeting.seat(self._check) as predictor.backbone:
            yield predictor


Work = Callable[[Row], Result]


class Ticket(Generic[Result]):
    """A request that was taken.

    Args:
        work: computes the answer.
        deadline: of :func:`time.monotonic`.

    Attributes:
        result: the answer, or why there is none.
    """

    def __init__(self, work: Work[Result], deadline: float) -> None:
        self.work = work
        self.result: Future[Result] = Future()
        self._deadline = deadline
        self._cancelled = False

    def cancel(self) -> None:
        """Let it end before its next pass; see also :meth:`Engine.cancel`."""
        self._cancelled = True

    def refuse(self, error: Exception) -> None:
        """There will be no answer."""
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)

    def check(self) -> None:
        """Raise where it should end."""
        if self._cancelled:
            raise AbandonedError("the client is gone")
        if time.monotonic() > self._deadline:
            raise TimeUpError("the request took longer than the server's limit")

    def run(self, row: Row) -> None:
        """Compute the answer; whatever goes wrong is the request's alone."""
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            self.check()
            found = self.work(row)
        except BaseException as error:
            self.result.set_exception(error)
        else:
            self.result.set_result(found)


class Engine:
    """Answers requests, several at a time, pass by pass.

    Args:
        model: in evaluation mode from now on.
        max_batch: most requests in work.
        observe: told the rows of every batch that is computed.

    Raises:
        InvalidArgumentError: ``max_batch`` below 1.

    Example:
        >>> from dllm_audio import toy
        >>> model = toy.small_model()
        >>> def ask(row):
        ...     with row.predictor(prompts="What is said?", audio=toy.clips()[0].path) as predictor:
        ...         return row.model.decode(model.default_sampler()(predictor))[0]
        >>> engine = Engine(model, max_batch=2)
        >>> tickets = [engine.submit(ask, seconds=60) for _ in range(3)]
        >>> {ticket.result.result() for ticket in tickets}
        {'three seven five six'}
        >>> engine.close()
    """

    def __init__(
        self, model: AudioDiffusionLM, max_batch: int, observe: Observer | None = None
    ) -> None:
        if max_batch < 1:
            raise InvalidArgumentError("max_batch", "an integer >= 1", max_batch)
        self.model = model.eval()
        self.max_batch = max_batch
        self._meeting = Meeting(model.backbone, observe)
        self._changed = threading.Condition()
        self._waiting: deque[Ticket[Any]] = deque()
        self._running = 0
        self._closed = False
        self._preparing = threading.Lock()
        self._lanes = [
            threading.Thread(target=self._lane, name=f"dllm-audio row {number}", daemon=True)
            for number in range(max_batch)
        ]
        for lane in self._lanes:
            lane.start()

    @property
    def running(self) -> int:
        """Requests in work."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait for a row."""
        return len(self._waiting)

    def submit(self, work: Work[Result], seconds: float) -> Ticket[Result]:
        """Answer this as soon as there is a row for it.

        Args:
            work: computes the answer in a row; called in a thread of the engine.
            seconds: it ends when it takes longer, waiting included.
        """
        ticket = Ticket(work, time.monotonic() + seconds)
        with self._changed:
            if not self._closed:
                self._waiting.append(ticket)
                self._changed.notify()
                return ticket
        ticket.refuse(RefusedError("the server is stopping"))
        return ticket

    def cancel(self, ticket: Ticket[Any]) -> None:
        """Forget a request that waits, and end one in work before its next pass."""
        ticket.cancel()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        ticket.result.cancel()  # does nothing to one in work

    def drain(self) -> None:
        """Refuse what waits and whatever comes; what is in work goes on."""
        with self._changed:
            self._closed = True
            refused = [*self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        for ticket in refused:
            ticket.refuse(RefusedError("the server is stopping"))

    def close(self) -> None:
        """Refuse what waits, finish what is in work, and end."""
        self.drain()
        for lane in self._lanes:
            lane.join()
        self._meeting.close()

    def _lane(self) -> None:
        while (ticket := self._next()) is not None:
            try:
                ticket.run(Row(self.model, self._meeting, ticket.check, self._preparing))
            finally:
                with self._changed:
                    self._running -= 1

    def _next(self) -> Ticket[Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            self._running += 1
            return self._waiting.popleft()
