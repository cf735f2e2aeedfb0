"""Where rows meet for a forward pass.

Each row runs a sampler of its own in a thread of its own, as if it were alone; only its backbone is
a stand-in. What the sampler asks of it waits until every row in work asks for something; then one
thread, which owns the backbone, computes all of it in as few batches as are worth it. A row that
sits down between two passes takes part in the next one; a row that gets up is not waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..protocols import Backbone, KVCache
from .passes import Pass, batches, heads, together

# Called after each batch with its rows.
Observer = Callable[[int], None]


@dataclass(eq=False, slots=True)
class _Asked:
    """A pass, or states whose logits are wanted."""

    what: Pass | Tensor
    answer: Future[Tensor] = field(default_factory=Future)


class SeatedBackbone:
    """The backbone as one row sees it; everything but its passes is the backbone's own.

    Args:
        backbone: the real one.
        ask: waits for the others and returns what was computed.
    """

    def __init__(self, backbone: Backbone, ask: Callable[[Pass | Tensor], Tensor]) -> None:
        self._backbone = backbone
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def hidden(self, inputs_embeds: Tensor, **arguments: Tensor | KVCache | None) -> Tensor:
        """States ``[b, M, D]``; see :meth:`dllm_audio.protocols.Backbone.hidden`."""
        return self._ask(Pass(inputs_embeds, **arguments))  # type: ignore[arg-type]

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of ``hidden [..., D]``."""
        return self._ask(hidden)


class Meeting:
    """Rows in work, and the thread that computes their passes.

    Args:
        backbone: predicts tokens; nobody else should use it meanwhile.
        observe: told of every batch.

    Example:
        >>> from dllm_audio import LLaDA, LLaDAConfig, LowConfidenceSampler, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> predictor = condition(backbone, torch.tensor([[1, 2, 3]]))
        >>> sampler, meeting = LowConfidenceSampler(steps=4, gen_length=8), Meeting(backbone)
        >>> alone = sampler(predictor).tokens
        >>> with meeting.seat() as predictor.backbone:
        ...     output = sampler(predictor)
        >>> meeting.close()
        >>> output.nfe, bool((output.tokens == alone).all())
        (4, True)
    """

    def __init__(self, backbone: Backbone, observe: Observer | None = None) -> None:
        self._backbone = backbone
        self._observe = observe
        self._changed = threading.Condition()
        self._seats = 0
        self._asked: list[_Asked] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="dllm-audio passes", daemon=True)
        self._thread.start()

    @contextmanager
    def seat(self, check: Callable[[], None] | None = None) -> Iterator[SeatedBackbone]:
        """Take part in every pass from now on.

        Inside, the row must do nothing that takes long: everybody waits for it.

        Args:
            check: called before each pass; what it raises ends the row.
        """

        def ask(what: Pass | Tensor) -> Tensor:
            if check is not None and isinstance(what, Pass):
                check()
            asked = _Asked(what)
            with self._changed:
                self._asked.append(asked)
                self._changed.notify_all()
            return asked.answer.result()

        with self._changed:
            self._seats += 1
        try:
            yield SeatedBackbone(self._backbone, ask)
        finally:
            with self._changed:
                self._seats -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """End the thread, once nobody sits here any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        with torch.inference_mode():
            while turn := self._next_turn():
                self._compute(turn)

    def _next_turn(self) -> list[_Asked]:
        """What is computed next; nothing at the end."""

        def ready() -> bool:
            if self._asked:
                return len(self._asked) == self._seats
            return self._closed and not self._seats

        with self._changed:
            self._changed.wait_for(ready)
            # Heads first: rows that are half a pass ahead would stay so for ever.
            turn = [each for each in self._asked if isinstance(each.what, Tensor)]
            turn = turn or self._asked
            self._asked = [each for each in self._asked if each not in turn]
        return turn

    def _compute(self, turn: Sequence[_Asked]) -> None:
        whats = [each.what for each in turn]
        states = [what for what in whats if isinstance(what, Tensor)]
        if states:
            self._answer(turn, lambda: heads(self._backbone, states))
            return
        passes = [what for what in whats if isinstance(what, Pass)]
        for batch in batches(self._backbone, passes):
            members = [passes[place] for place in batch]
            self._answer(
                [turn[place] for place in batch],
                lambda members=members: together(self._backbone, members),  # type: ignore[misc]
            )
            if self._observe is not None:
                self._observe(sum(each.rows for each in members))

    def _answer(self, asked: Sequence[_Asked], compute: Callable[[], list[Tensor]]) -> None:
        """Tell each what was computed, or why it was not."""
        try:
            found = compute()
        except BaseException as error:  # whoever asked handles it
            if len(asked) == 1:
                asked[0].answer.set_exception(error)
                return
            for each in asked:  # what fails must not fail its batch
                self._compute([each])
            return
        for each, answer in zip(asked, found, strict=True):
            each.answer.set_result(answer)
