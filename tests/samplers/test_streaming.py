"""Streaming into transformers' streamers and into ones of the same shape."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from dllm_audio import CachedParallelSampler, Threshold
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers.streaming import stream_to

from .models import EOS, MASK, VOCAB, TablePredictor, mixed_batch, sure_table, tiny_llada


class Letters:
    """A tokenizer of single letters."""

    def decode(self, ids: Any, **options: Any) -> str:
        return "".join("_" if int(i) == MASK else f"{chr(97 + int(i))} " for i in ids)


class Listener:
    """Records what a streamer is given."""

    def __init__(self) -> None:
        self.pieces: list[list[int]] = []
        self.ended = False

    @property
    def tokens(self) -> list[int]:
        return [token for piece in self.pieces for token in piece]

    def put(self, value: torch.Tensor) -> None:
        self.pieces.append(value.tolist())

    def end(self) -> None:
        self.ended = True


class DraftListener(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[list[int]] = []

    def put_draft(self, value: torch.Tensor) -> None:
        self.drafts.append(value.tolist())


# Committed in this order: 2, 4, 0, 1, 3; the EOS at 4 ends the text.
TABLE = sure_table([[0.7, 0.6, 0.9, 0.5, 0.8, 0.4]], [[5, 6, 7, 8, EOS, 9]])
SAMPLER = CachedParallelSampler(6, 6, Threshold(0.95), cache=None)


def test_confirmed_tokens_come_in_order_and_drafts_before_them() -> None:
    listener = DraftListener()
    output = stream_to(listener, SAMPLER, TablePredictor(TABLE, MASK, EOS))
    assert output.tokens.tolist() == [[5, 6, 7, 8, EOS, EOS]]
    assert listener.pieces == [[5], [6, 7], [8]]
    assert listener.drafts == [[MASK, MASK, 7], [MASK, MASK, 7], [MASK, 7]]
    assert listener.ended


def test_a_streamer_without_drafts_gets_the_text_only() -> None:
    listener = Listener()
    stream_to(listener, SAMPLER, TablePredictor(TABLE, MASK, EOS))
    assert listener.tokens == [5, 6, 7, 8]
    listener = Listener()
    stream_to(listener, SAMPLER, TablePredictor(TABLE, MASK, EOS), end_token_ids=(7, EOS))
    assert listener.tokens == [5, 6]


@pytest.mark.parametrize("cache", [None, "prefix", "dual"])
def test_the_stream_adds_up_to_the_answer(cache: str | None) -> None:
    for seed in range(4):
        predictor = mixed_batch(tiny_llada(seed), seed, rows=1).together()
        sampler = CachedParallelSampler(12, 4, Threshold(0.6), cache=cache)
        listener = DraftListener()
        output = stream_to(listener, sampler, predictor, gap_token_id=0)
        assert torch.equal(output.tokens, sampler(predictor).tokens)
        assert listener.tokens == output.tokens[0, : int(output.lengths)].tolist()
        assert all(MASK not in draft and draft[-1] != MASK for draft in listener.drafts)


def test_transformers_streamers(capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "TextDiffusionStreamer"):
        pytest.skip("this transformers has no TextDiffusionStreamer")
    for name in ("TextStreamer", "TextDiffusionStreamer"):
        for skip_prompt in (False, True):
            streamer = getattr(transformers, name)(Letters(), skip_prompt=skip_prompt)
            stream_to(streamer, SAMPLER, TablePredictor(TABLE, MASK, EOS))
            printed = capsys.readouterr().out
            # A draft is printed in yellow after a saved cursor, then wiped.
            drafts = re.findall("\x1b7\x1b\\[33m(.*?)\x1b\\[0m\x1b8\x1b\\[J", printed)
            assert drafts == (["__h ", "__h ", "_h "] if "Diffusion" in name else [])
            final = re.sub("\x1b7.*?\x1b8\x1b\\[J", "", printed)
            assert final == "f g h i \n"


def test_one_row_at_a_time() -> None:
    predictor = TablePredictor(torch.zeros(2, 6, VOCAB), MASK, EOS)
    with pytest.raises(InvalidArgumentError, match="predictor: expected one row"):
        stream_to(Listener(), SAMPLER, predictor)


def test_a_sampler_that_ends_without_an_output_is_named() -> None:
    class Nothing:
        def stream(self, predictor: Any) -> list[Any]:
            return []

    predictor = TablePredictor(sure_table([[0.9, 0.8]]), MASK)
    with pytest.raises(InvalidArgumentError, match=r"sampler: .*carries the output"):
        stream_to(Listener(), Nothing(), predictor)  # type: ignore[arg-type]
