"""Our models inside lmms-eval: ``lmms-eval --model dllm_audio --tasks mmau_test_mini ...``.

lmms-eval finds this module through the entry point ``lmms_eval.models``.  Its class is made when
it is first asked for, because it must derive from one of lmms-eval's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import load_audio
from ..audio.units import SAMPLING_RATE
from ..errors import DataError, InvalidArgumentError
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
    document id, task and split.  Decoding follows the model's sampler; of the settings only
    ``until`` is obeyed, by cutting the answer.  Audio beyond the encoder's window is cut.

    Raises:
        DataError: a request without audio, or with several clips.
    """
    answers: list[str] = []
    for first in tqdm(range(0, len(requests), batch_size), disable=None if progress else True):
        batch = [request.args for request in requests[first : first + batch_size]]
        audio, prompts = [], []
        for prompt, _, doc_to_audio, doc_id, task, split in batch:
            clips = doc_to_audio(task_dict[task][split][doc_id])
            if len(clips) != 1:
                raise DataError(f"{task}, document {doc_id}: expected one clip, got {len(clips)}")
            longest = predictor.max_seconds
            limit = None if longest is None else int(longest * SAMPLING_RATE)
            audio.append(read_visual(clips[0])[:limit])
            prompts.append(prompt)
        texts = predictor(audio, prompts, [first + i for i in range(len(batch))]).texts
        answers += [_cut(text, args[1]) for text, args in zip(texts, batch, strict=True)]
    return answers


def _cut(text: str, settings: dict[str, Any]) -> str:
    until = settings.get("until") or []
    for end in [until] if isinstance(until, str) else until:
        text = text.partition(end)[0] if end else text
    return text.strip()


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
