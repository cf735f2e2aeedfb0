"""lmms-eval's generation settings, as far as a masked-diffusion model can obey them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidArgumentError
from ..samplers import Sampler, from_dict
from ..samplers.lengthening import with_length

_LENGTHS = ("max_new_tokens", "max_gen_toks")
# What a model that writes word by word would do otherwise, and the values that change nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "repetition_penalty": (None, 1.0),
    "length_penalty": (None, 1.0),
    "min_new_tokens": (None, 0, 1),
}
_OF_SAMPLING: Mapping[str, tuple[Any, ...]] = {"top_p": (None, 0, 1.0), "top_k": (None, 0, -1)}
_OBEYED = {*_LENGTHS, "until", "temperature", "do_sample"}
_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class Settings:
    """How one request is decoded.

    Attributes:
        sampler: decodes.
        until: texts that end an answer; they are no part of it.
    """

    sampler: Sampler
    until: tuple[str, ...]

    def cut(self, text: str) -> str:
        """An answer up to the first of ``until``."""
        for end in self.until:
            text = text.partition(end)[0] if end else text
        return text.strip()


def read_settings(settings: Mapping[str, Any], sampler: Sampler) -> Settings:
    """What a task asks of the model's sampler.

    ``max_new_tokens`` (or ``max_gen_toks``) bounds the answer: it shortens a longer response and
    never lengthens one, because the length of a response is part of how such a model was trained.
    ``temperature`` counts unless ``do_sample`` is false, which is greedy.  ``until`` cuts.
    Settings that nobody here knows are told once, by a warning that names them.

    Args:
        settings: a request's ``gen_kwargs``.
        sampler: the model's own.

    Raises:
        InvalidArgumentError: a value that is none, or one that would need a model which writes
            word by word (beams, nucleus sampling, penalties).
    """
    for name, allowed in _NEUTRAL.items():
        _only(settings, name, allowed)
    described = sampler.to_dict()
    length = next((settings[name] for name in _LENGTHS if settings.get(name) is not None), None)
    if length is not None:
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InvalidArgumentError("max_new_tokens", "an integer >= 1", length)
        if length < sampler.gen_length:
            described = with_length(described, length)
    temperature = settings.get("temperature")
    if settings.get("do_sample") is False:
        temperature = 0.0
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float):
            raise InvalidArgumentError("temperature", "a number >= 0", temperature)
        described = {**described, "temperature": float(temperature)}
    if described["temperature"] > 0:
        for name, allowed in _OF_SAMPLING.items():
            _only(settings, name, allowed)
    _tell(set(settings) - _OBEYED - _NEUTRAL.keys() - _OF_SAMPLING.keys())
    until = settings.get("until") or ()
    ends = (until,) if isinstance(until, str) else tuple(until)
    changed = described != sampler.to_dict()
    return Settings(from_dict(described) if changed else sampler, ends)


def _only(settings: Mapping[str, Any], name: str, allowed: tuple[Any, ...]) -> None:
    if settings.get(name) not in allowed:
        neutral = " or ".join(str(value) for value in allowed if value is not None)
        raise InvalidArgumentError(name, f"{neutral}, or nothing", settings[name])


def _tell(names: set[str]) -> None:
    if new := sorted(names - _told):
        _told.update(new)
        warnings.warn(f"lmms-eval settings without an effect here: {', '.join(new)}", stacklevel=3)
