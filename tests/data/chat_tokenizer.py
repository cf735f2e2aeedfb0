"""A character-level tokenizer with LLaDA's chat markers, for tests of prompts and batches."""

from __future__ import annotations

import re
from typing import Any

MARKERS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|mdm_mask|>",
)
_SPLIT = re.compile("|".join(map(re.escape, MARKERS)) + "|.", re.DOTALL)


class CharacterTokenizer:
    """Markers are tokens 0 to 5, then come the characters of ASCII."""

    eos_token_id = MARKERS.index("<|endoftext|>")
    mask_token_id = MARKERS.index("<|mdm_mask|>")
    vocab_size = len(MARKERS) + 128

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [self._id(piece) for piece in _SPLIT.findall(text)]

    def decode(self, token_ids: Any, skip_special_tokens: bool = True) -> str:
        pieces = [self._piece(int(i)) for i in token_ids]
        return "".join(p for p in pieces if not (skip_special_tokens and p in MARKERS))

    @staticmethod
    def _id(piece: str) -> int:
        return MARKERS.index(piece) if piece in MARKERS else len(MARKERS) + ord(piece) % 128

    @staticmethod
    def _piece(token: int) -> str:
        return MARKERS[token] if token < len(MARKERS) else chr(token - len(MARKERS))
