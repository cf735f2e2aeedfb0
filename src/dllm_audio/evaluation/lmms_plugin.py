"""Our models inside lmms-eval: ``lmms-eval --model dllm_audio --tasks mmau_test_mini ...``.

lmms-eval finds this module through the entry point ``lmms_eval.models``.  Its class is made when
it is first asked for, because it must derive from one of lmms-eval's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import load_audio
from ..audio.units import SAMPLING_RATE
from ..errors import DataError, InvalidArgumentError
from .lmms_settings import read_settings
from .predictors import ModelPredictor

MODEL_NAME = "dllm_audio"
_CLASS_NAME = "DllmAudio"


def manifests() -> Any:
    """What lmms-eval's registry wants to know: our model's name and the path of its class."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id=MODEL_NAME,
        simple_class_path=f"{__name__}.{_CLASS_NAME}",
        aliases=("dllm-audio", "diffa"),
    )


def read_visual(value: Any) -> Tensor:
    """A waveform ``[T]`` at 16 kHz from what a task hands over as audio.

    Args:
        value: a record with ``array`` and ``sampling_rate``, or with ``bytes`` or ``path``; a
            path; or a decoder object of ``datasets`` with ``get_all_samples()``.

    Raises:
        DataError: it is none of these.
        AudioError: it cannot be used.
    """
    if hasattr(value, "get_all_samples"):
        samples = value.get_all_samples()
        return load_audio((samples.data, samples.sample_rate), channel_axis=0)
    if isinstance(value, dict):
        if value.get("array") is not None:
            return load_audio((value["array"], value["sampling_rate"]))
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str | bytes | Path):
        return load_audio(value)
    raise DataError(f"audio: expected samples, bytes or a path, got {type(value).__name__}")


def answer_requests(
    requests: Sequence[Any],
    task_dict: dict[str, Any],
    predictor: ModelPredictor,
    *,
    batch_size: int = 1,
    progress: bool = True,
) -> list[str]:
    """Answer lmms-eval's ``generate_until`` requests, in their order.

    A request's arguments are prompt, generation settings, a function from document to audio,
    document id, task and split.  A question may be about several clips, which stand in front of it
    in their order.  Decoding follows the model's sampler and what :func:`read_settings` takes of a
    request's settings; requests that are decoded alike are answered together.  Audio beyond the
    encoder's window is cut, clip by clip.

    Raises:
        DataError: a request without audio.
        InvalidArgumentError: settings that cannot be obeyed.
    """
    own = predictor.sampler or predictor.model.default_sampler()
    asked = [read_settings(request.args[1], own) for request in requests]
    alike: dict[str, list[int]] = {}
    for number, settings in enumerate(asked):
        alike.setdefault(json.dumps(settings.sampler.to_dict(), sort_keys=True), []).append(number)
    answers = [""] * len(requests)
    with tqdm(total=len(requests), disable=None if progress else True) as shown:
        for numbers in alike.values():
            decoding = replace(predictor, sampler=asked[numbers[0]].sampler)
            for first in range(0, len(numbers), batch_size):
                batch = numbers[first : first + batch_size]
                audio = [_clips(requests[n].args, task_dict, predictor) for n in batch]
                prompts = [requests[n].args[0] for n in batch]
                texts = decoding(audio, prompts, batch).texts
                for number, text in zip(batch, texts, strict=True):
                    answers[number] = asked[number].cut(text)
                shown.update(len(batch))
    return answers


def _clips(
    arguments: Sequence[Any], task_dict: dict[str, Any], predictor: ModelPredictor
) -> Tensor | list[Tensor]:
    """The clip of a request, or its clips."""
    _, _, doc_to_audio, doc_id, task, split = arguments
    found = doc_to_audio(task_dict[task][split][doc_id])
    if not found:
        raise DataError(f"{task}, document {doc_id}: expected at least one clip, got none")
    longest = predictor.max_seconds
    limit = None if longest is None else int(longest * SAMPLING_RATE)
    clips = [read_visual(clip)[:limit] for clip in found]
    return clips if len(clips) > 1 else clips[0]


def _load(pretrained: str, device: str | None, dtype: str | None) -> ModelPredictor:
    from ..model import AudioDiffusionLM

    if dtype is not None and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InvalidArgumentError("dtype", "a name such as bfloat16", dtype)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    chosen = getattr(torch, dtype) if dtype else None
    model = AudioDiffusionLM.from_pretrained(pretrained, dtype=chosen, device_map=device)
    return ModelPredictor(model, model.default_sampler(), {"model": pretrained}, device)


@lru_cache(maxsize=1)
def _adapter_class() -> type:
    from lmms_eval.api.model import lmms

    class DllmAudio(lmms):
        """An ``AudioDiffusionLM`` as lmms-eval sees it.

        Args:
            pretrained: folder or hub id.
            device: where it runs; None: cuda if there is one.
            dtype: for example ``bfloat16``; None: as it was saved.
            batch_size: requests at once.
        """

        is_simple = True

        def __init__(
            self,
            pretrained: str,
            device: str | None = None,
            dtype: str | None = None,
            batch_size: int | str = 1,
        ) -> None:
            super().__init__()
            self.predictor = _load(pretrained, device, dtype)
            self.batch_size_per_gpu = int(batch_size)
            self.device = torch.device(self.predictor.device)

        @property
        def batch_size(self) -> int:
            """Requests at once."""
            return self.batch_size_per_gpu

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """Answer requests; see ``answer_requests``."""
            return answer_requests(
                requests,
                self.task_dict,
                self.predictor,
                batch_size=self.batch_size,
                progress=self.rank == 0,
            )

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """Refused: a masked-diffusion model bounds likelihoods, it does not compute them."""
            raise InvalidArgumentError("output_type", "generate_until", "loglikelihood")

        def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
            """Refused: the published models answer one turn."""
            raise InvalidArgumentError("output_type", "generate_until", "several rounds")

    return DllmAudio


def __getattr__(name: str) -> Any:
    if name == _CLASS_NAME:
        return _adapter_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
