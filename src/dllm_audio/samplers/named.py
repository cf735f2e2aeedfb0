"""The three named samplers, thin settings of :class:`.Sampler`; and samplers from descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from ..errors import CheckpointError, InvalidArgumentError
from ..parts import build
from .adaptive import AdaptiveSampler
from .cache import CachePolicy
from .checks import shown
from .choosing import SamplingOptions
from .commit import CommitRule, FixedQuota, Threshold
from .confidence import TraceCredit
from .guidance import ClassifierFreeGuidance
from .length_policies import POLICIES
from .loop import Sampler
from .revisions import WINO, Editing, Remasking

Settings = TypeVar("Settings")
_OPTIONS = tuple(field.name for field in fields(SamplingOptions))
_KEYS = ("length", "gen_length", "block_length", "steps", "commit", "cache", *_OPTIONS)


class LowConfidenceSampler(Sampler):
    """LLaDA's reference decoding (arXiv 2502.09992, algorithm 5) over one block.

    At each step the most confident masked positions are committed, the rest is predicted again.

    Args:
        steps: forward passes.
        gen_length: response positions R.
        temperature: 0 is greedy.
        guidance: classifier-free guidance, or None.
        options: fields of :class:`.SamplingOptions` (``confidence``, ``eos``, ``trace``, ...).

    Example:
        >>> sampler = LowConfidenceSampler(steps=8, gen_length=16)
        >>> sampler.bounds()
        [(0, 16)]
    """

    def __init__(
        self,
        steps: int,
        gen_length: int,
        temperature: float = 0.0,
        guidance: ClassifierFreeGuidance | None = None,
        **options: Any,
    ) -> None:
        settings = _options(temperature=temperature, guidance=guidance, **options)
        super().__init__(gen_length, gen_length, FixedQuota(steps), options=settings)


class BlockSampler(Sampler):
    """Semi-autoregressive decoding: equal blocks from left to right, each with its quota.

    Blocks to come stay visible as masks; attention stays full.

    Args:
        steps: forward passes for the whole response.
        gen_length: response positions R.
        block_length: positions of a block; the last one may be shorter.
        temperature: 0 is greedy.
        guidance: classifier-free guidance, or None.
        options: fields of :class:`.SamplingOptions` (``confidence``, ``eos``, ``trace``, ...).

    Example:
        >>> BlockSampler(steps=16, gen_length=32, block_length=8).bounds()
        [(0, 8), (8, 16), (16, 24), (24, 32)]
    """

    def __init__(
        self,
        steps: int,
        gen_length: int,
        block_length: int,
        temperature: float = 0.0,
        guidance: ClassifierFreeGuidance | None = None,
        **options: Any,
    ) -> None:
        settings = _options(temperature=temperature, guidance=guidance, **options)
        super().__init__(gen_length, block_length, FixedQuota(steps), options=settings)


class CachedParallelSampler(Sampler):
    """Several tokens a step by a commit rule, with reuse of keys and values.

    Args:
        gen_length: response positions R, an upper bound with ``eos_stop``.
        block_length: positions of a block; the last one may be shorter.
        commit: what becomes final in a step; None with ``steps`` is :class:`.FixedQuota`.
        cache: ``"prefix"`` keeps what is before the block, ``"dual"`` what is around it,
            ``"exact"`` what is finished where blocks see nothing behind them; None keeps nothing.
        steps: most forward passes for the whole response; exactly these with ``commit=None``.
        eos_stop: end a row once everything before its first EOS is committed.
        refresh_interval: refresh the cache every so many steps of a block; None only at its start.
        refresh: ``"sequence"``, or ``"response"`` to compute the prompt only once.
        options: fields of :class:`.SamplingOptions` (``temperature``, ``guidance``, ...).

    Example:
        >>> CachedParallelSampler(64, 32, commit=Threshold(0.9), cache="dual").cache
        CachePolicy(kind='dual', refresh_interval=None, refresh='sequence')
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        commit: CommitRule | None = Threshold(0.9),  # noqa: B008 (frozen)
        cache: str | None = "prefix",
        steps: int | None = None,
        eos_stop: bool = True,
        *,
        refresh_interval: int | None = None,
        refresh: str = "sequence",
        **options: Any,
    ) -> None:
        if commit is None:
            if steps is None:
                raise InvalidArgumentError("steps", "an integer, because commit is None", None)
            commit = FixedQuota(steps)
        settings = _options(eos_stop=eos_stop, **options)
        policy = CachePolicy(cache, refresh_interval, refresh)
        super().__init__(gen_length, block_length, commit, policy, settings, steps)


class WINOSampler(Sampler):
    """Draft wide, verify with a shadow block, take back; see :class:`.WINO`.

    Args:
        gen_length: response positions R, an upper bound with ``eos_stop``.
        block_length: positions of a block; the last one may be shorter.
        threshold: confidence above which a token is drafted.
        threshold_back: probability below which a committed token is reopened.
        cache: as of :class:`CachedParallelSampler`.
        options: fields of :class:`.SamplingOptions` (``guidance``, ``eos_stop``, ``trace``, ...).

    Example:
        >>> WINOSampler(64, 32).commit
        WINO(threshold=0.6, threshold_back=0.9)
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        threshold: float = 0.6,
        threshold_back: float = 0.9,
        *,
        cache: str | None = None,
        **options: Any,
    ) -> None:
        rule = WINO(threshold, threshold_back)
        super().__init__(gen_length, block_length, rule, CachePolicy(cache), _options(**options))


class EditingSampler(Sampler):
    """Fill above one threshold, replace above another; see :class:`.Editing`.

    Args:
        gen_length: response positions R, an upper bound with ``eos_stop``.
        block_length: positions of a block; the last one may be shorter.
        threshold: confidence above which a token is filled in.
        edit_threshold: confidence above which a token replaces another one.
        max_post_edit_steps: passes over a block that has nothing open.
        penalty: taken from the logit of the token one position to the left.
        cache: as of :class:`CachedParallelSampler`.
        options: fields of :class:`.SamplingOptions` (``guidance``, ``eos_stop``, ``trace``, ...).

    Example:
        >>> EditingSampler(64, 32, threshold=0.7, edit_threshold=0.5).commit.edit_threshold
        0.5
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        threshold: float = 0.5,
        edit_threshold: float = 0.0,
        max_post_edit_steps: int = 16,
        penalty: float = 0.0,
        *,
        cache: str | None = None,
        **options: Any,
    ) -> None:
        rule = Editing(threshold, edit_threshold, max_post_edit_steps, penalty)
        super().__init__(gen_length, block_length, rule, CachePolicy(cache), _options(**options))


class RemaskingSampler(Sampler):
    """Fill most of a block, swap what is least sure, fill the rest; see :class:`.Remasking`.

    Args:
        gen_length: response positions R, an upper bound with ``eos_stop``.
        block_length: positions of a block; the last one may be shorter.
        remask_number: positions that a swapping pass reopens and commits.
        cache: as of :class:`CachedParallelSampler`.
        options: fields of :class:`.SamplingOptions` (``guidance``, ``eos_stop``, ``trace``, ...).

    Example:
        >>> RemaskingSampler(64, 32).plan()
        [64, 64]
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        remask_number: int = 1,
        *,
        cache: str | None = None,
        **options: Any,
    ) -> None:
        rule = Remasking(remask_number)
        super().__init__(gen_length, block_length, rule, CachePolicy(cache), _options(**options))


def from_dict(description: Mapping[str, Any]) -> Sampler:
    """The sampler that a description describes: the inverse of :meth:`.Sampler.to_dict`.

    Args:
        description: plain JSON values, perhaps from a stranger's file: ``gen_length``; and, each
            with a default, ``block_length`` (null: one block), ``steps`` (null: no bound beside
            the rule's), ``commit`` (``{"name", "settings"}`` of a registered rule; null with
            ``steps``: :class:`.FixedQuota`), ``cache`` (null, or fields of
            :class:`.CachePolicy`), and the fields of :class:`.SamplingOptions`.

    Raises:
        InvalidArgumentError: a key that is unknown or missing, or a value that does not fit.

    Example:
        >>> rule = {"name": "threshold", "settings": {"tau": 0.9}}
        >>> sampler = from_dict({"gen_length": 64, "block_length": 32, "commit": rule})
        >>> sampler == Sampler(64, 32, Threshold(0.9)) == from_dict(sampler.to_dict())
        True
        >>> from_dict({"gen_length": 64, "treshold": 0.9})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        dllm_audio.errors.InvalidArgumentError: sampler: ... got 'treshold'
    """
    given = _checked_keys("sampler", description, _KEYS, required=("gen_length",))
    if given.get("length") is not None:
        return _adaptive(given)
    length, steps = given["gen_length"], given.get("steps")
    block = given.get("block_length")
    return Sampler(
        length,
        length if block is None else block,
        _rule(given.get("commit"), steps),
        _cache(given),
        _sampling_options(given),
        steps,
    )


def _adaptive(given: Mapping[str, Any]) -> AdaptiveSampler:
    """A sampler whose length is found."""
    length = _checked_keys("length", given["length"], ("name", "settings"), required=("name",))
    if not isinstance(length["name"], str) or length["name"] not in POLICIES:
        expected = f"one of {', '.join(POLICIES)}"
        raise InvalidArgumentError("length.name", expected, shown(length["name"]))
    policy = _read("length.settings", POLICIES[length["name"]], length.get("settings") or {})
    if given["gen_length"] != policy.max_gen_length:
        expected = f"{policy.max_gen_length}, as length.settings.max_gen_length"
        raise InvalidArgumentError("gen_length", expected, shown(given["gen_length"]))
    rule = Threshold(0.9) if given.get("commit") is None else _rule(given["commit"], None)
    if not isinstance(rule, Threshold):
        raise InvalidArgumentError("commit", "a threshold, where the length is found", rule)
    cache, block = _cache(given), given.get("block_length")
    return AdaptiveSampler(
        policy,
        policy.max_gen_length if block is None else block,
        rule.tau,
        None if cache is None else cache.kind,
        _sampling_options(given),
    )


def _cache(given: Mapping[str, Any]) -> CachePolicy | None:
    cache = given.get("cache")
    return None if cache is None else _read("cache", CachePolicy, cache)


def _sampling_options(given: Mapping[str, Any]) -> SamplingOptions:
    options = {name: given[name] for name in _OPTIONS if name in given}
    for name, kind in (("guidance", ClassifierFreeGuidance), ("credit", TraceCredit)):
        if options.get(name) is not None:
            options[name] = _read(name, kind, options[name])
    return SamplingOptions(**options)


def _rule(description: object, steps: Any) -> CommitRule:
    if description is None:
        if steps is None:
            raise InvalidArgumentError("commit", "a rule, because steps is null", None)
        return FixedQuota(steps)
    try:
        rule = build("commit", description, "sampler")
    except CheckpointError as error:
        raise InvalidArgumentError("commit", "a registered rule and its settings", error) from error
    if not isinstance(rule, CommitRule):
        raise InvalidArgumentError("commit", "a CommitRule", type(rule).__name__)
    return rule


def _read(name: str, kind: type[Settings], value: object) -> Settings:
    """Settings from a JSON object, strictly."""
    known = fields(kind)  # type: ignore[arg-type]
    required = [field.name for field in known if field.default is MISSING]
    given = _checked_keys(name, value, [field.name for field in known], required)
    try:
        return kind(**given)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{name}.{error.argument}", error.expected, error.got) from error


def _checked_keys(
    name: str, value: object, known: Iterable[str], required: Iterable[str]
) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(name, "an object", shown(value))
    unknown = [key for key in value if key not in known]
    if unknown:
        expected = f"only the keys {', '.join(known)}"
        raise InvalidArgumentError(name, expected, shown(unknown[0]))
    for key in required:
        if key not in value:
            raise InvalidArgumentError(f"{name}.{key}", "a value", "none")
    return dict(value)


def _options(**given: Any) -> SamplingOptions:
    unknown = sorted(given.keys() - set(_OPTIONS))
    if unknown:
        expected = f"only the fields {', '.join(_OPTIONS)}"
        raise InvalidArgumentError("options", expected, ", ".join(unknown))
    return SamplingOptions(**given)
