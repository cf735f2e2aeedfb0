"""The sampler that a request asks for: the model's own, a preset or a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import DataError, InvalidArgumentError, one_line
from ..files import parse_json
from ..model import AudioDiffusionLM
from ..samplers import PRESETS, Sampler, from_dict
from ..samplers.lengthening import with_length
from .fields import LARGEST_SEED, Fields
from .refusals import ApiError, invalid

HOTTEST = 2.0  # as OpenAI's


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a request is decoded.

    Attributes:
        sampler: decodes.
        seed: of what it draws.
        own: whether the request changed anything.
    """

    sampler: Sampler
    seed: int
    own: bool

    def options(self, number: int = 0) -> dict[str, Any]:
        """What the sampler is called with, for the ``number``-th part of a request."""
        settings = self.sampler.options
        if settings.temperature == 0 and settings.confidence != "random":
            return {}
        return {"generator": torch.Generator().manual_seed((self.seed + number) % LARGEST_SEED)}


def read_decoding(fields: Fields, model: AudioDiffusionLM, max_tokens: int, seed: int) -> Decoding:
    """Take the fields that are about decoding.

    ``max_completion_tokens`` (or ``max_tokens``), ``temperature`` and ``seed`` are OpenAI's;
    ``sampler`` is ours: a preset's name, or a description as of ``Sampler.to_dict``.

    Args:
        fields: of the request.
        model: whose own sampler is the default.
        max_tokens: of an answer that is asked for.
        seed: where the request names none.

    Raises:
        ApiError: values that cannot be, or an answer longer than the server allows.
    """
    asked = fields.take("sampler")
    lengths = [fields.integer(name, 1, max_tokens) for name in _LENGTHS]
    length = next((each for each in lengths if each is not None), None)
    temperature = fields.number("temperature", 0, HOTTEST)
    own_seed = fields.integer("seed", -LARGEST_SEED, LARGEST_SEED)
    described = dict(_described(asked, model))
    if length is not None:
        described = with_length(described, length)
    if temperature is not None:
        described["temperature"] = temperature
    described["trace"] = False  # nobody would read it
    if not hasattr(model.backbone, "new_cache"):
        described["cache"] = None
    _check_ids(described, model)
    try:
        sampler = from_dict(described)
    except (InvalidArgumentError, OverflowError) as error:
        raise ApiError(400, one_line(error), "sampler") from error
    own = asked is not None or temperature is not None or length is not None
    if own and sampler.gen_length > max_tokens:
        raise invalid("sampler.gen_length", f"at most {max_tokens}", sampler.gen_length)
    if own and sampler.options.temperature > HOTTEST:
        raise invalid("sampler.temperature", f"at most {HOTTEST:g}", sampler.options.temperature)
    return Decoding(sampler, (seed if own_seed is None else own_seed) % LARGEST_SEED, own)


_LENGTHS = ("max_completion_tokens", "max_tokens")


def _described(asked: object, model: AudioDiffusionLM) -> Mapping[str, Any]:
    if asked is None:
        return model.default_sampler().to_dict()
    if isinstance(asked, str) and asked in PRESETS:
        return PRESETS[asked]
    if isinstance(asked, str) and asked.lstrip().startswith("{"):  # in a form
        try:
            asked = parse_json(asked, "sampler")
        except DataError as error:
            raise ApiError(400, one_line(error), "sampler") from error
    if not isinstance(asked, Mapping):
        raise invalid("sampler", f"an object, or one of {', '.join(PRESETS)}", asked)
    return asked


def _check_ids(described: Mapping[str, Any], model: AudioDiffusionLM) -> None:
    """End tokens that the model has; samplers do not know how many there are."""
    count = getattr(model.backbone.config, "num_embeddings", None)
    ids = described.get("end_token_ids")
    if count is None or not isinstance(ids, list | tuple):
        return
    for token in ids:
        if isinstance(token, int) and token >= count:
            raise invalid("sampler.end_token_ids", f"token ids below {count}", token)
