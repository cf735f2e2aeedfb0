"""A model that ``dllm-audio serve`` answers for, inside UltraEval-Audio.

Needs that package and openai's client; nothing of dllm-audio, so that the two may live in
environments of their own.  docs/evaluation.md says how it is called.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from audio_evals.models.model import APIModel
from openai import OpenAI

FORMATS = ("wav", "mp3", "flac", "ogg", "oga", "opus", "aiff", "au", "caf")  # the server's


class Served(APIModel):
    """Asks the server what a prompt of UltraEval-Audio asks.

    Args:
        base_url: of the server, with ``/v1``.
        model_name: None: the one model that it has.
        api_key: where the server wants one.
        sampler: a preset's name or a sampler's description; None: the model's own.
        sample_params: fields of every request, such as ``max_tokens`` and ``temperature``.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000/v1",
        model_name: str | None = None,
        api_key: str = "none",
        sampler: str | dict[str, Any] | None = None,
        sample_params: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(True, sample_params)
        self.client = OpenAI(base_url=base_url, api_key=api_key)
        self.model_name = model_name or self.client.models.list().data[0].id
        self.extra = {} if sampler is None else {"sampler": sampler}

    def _inference(self, prompt: list[dict[str, Any]], **kwargs: Any) -> str:
        turns = [
            {"role": turn["role"], "content": [_block(each) for each in turn["contents"]]}
            for turn in prompt
        ]
        answer = self.client.chat.completions.create(
            model=self.model_name, messages=turns, extra_body=self.extra, **kwargs
        )
        return answer.choices[0].message.content


def _block(content: dict[str, str]) -> dict[str, Any]:
    """A content of UltraEval-Audio, text or the path of a recording, as OpenAI has it."""
    if content["type"] == "text":
        return {"type": "text", "text": content["value"]}
    if content["type"] != "audio":
        raise ValueError(f"contents: expected text or audio, got {content['type']!r}")
    path = Path(content["value"])
    form = path.suffix.lstrip(".").lower()
    if form not in FORMATS:
        raise ValueError(f"{path}: expected one of {', '.join(FORMATS)}")
    sound = base64.b64encode(path.read_bytes()).decode()
    return {"type": "input_audio", "input_audio": {"data": sound, "format": form}}
