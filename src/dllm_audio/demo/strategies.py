"""Ways to decode that a visitor chooses from, by name."""

from __future__ import annotations

from collections.abc import Mapping

from ..evaluation.tuning import Candidate, candidates
from ..model import AudioDiffusionLM
from ..protocols import causal_block_length
from ..samplers import Sampler

OWN = "the model's own"


def strategies(model: AudioDiffusionLM, own: Sampler | None = None) -> Mapping[str, Sampler]:
    """The model's own sampler, and one of each rule that ``dllm-audio tune`` would measure.

    All have the length and the blocks of the model's own, so that they can be compared; of a rule
    with several caches it is the one with the simplest.

    Args:
        model: answers.
        own: what stands first; None: ``model.default_sampler()``.

    Example:
        >>> from dllm_audio import toy
        >>> list(strategies(toy.small_model()))[:3]
        ["the model's own", 'one token a step', 'Threshold(0.9), prefix cache']
    """
    own = own or model.default_sampler()
    causal = causal_block_length(model.backbone)
    simplest = "prefix" if causal is None else "exact"
    found: dict[str, Sampler] = {OWN: own}
    rules: dict[str, Candidate] = {}
    for way in candidates(own.gen_length, own.block_length, causal=causal is not None):
        if way.rule not in rules or way.cache == simplest:
            rules[way.rule] = way
    for rule, way in rules.items():
        found[rule if way.cache == "none" else f"{rule}, {way.cache} cache"] = way.sampler
    return found
