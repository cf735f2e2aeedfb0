"""A commit rule of your own: the surer half of what is masked, then the surer half of the rest."""

import tempfile
from dataclasses import dataclass

from torch import Tensor

from dllm_audio import AudioDiffusionLM, CachedParallelSampler, register, toy
from dllm_audio.samplers import CommitRule, CommitState


@register("commit", "surer-share")
@dataclass(frozen=True)
class SurerShare(CommitRule):
    """Commit a share of the masked positions, the surest ones."""

    share: float = 0.5

    def commit(self, state: CommitState) -> Tensor:
        """Bool ``[B, C]``: what is committed now."""
        rank = state.confidence.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        masked = state.candidates.sum(dim=-1, keepdim=True)
        return state.candidates & (rank < (self.share * masked).ceil())


small = toy.small_model()
question = {"prompts": "What is said?", "audio": toy.clips()[0].waveform}
model = AudioDiffusionLM.from_parts(
    small.encoder, small.adapter, small.backbone, small.tokenizer,
    sampler=CachedParallelSampler(gen_length=16, block_length=16, commit=SurerShare(0.3)),
)  # fmt: skip
answer = model.generate(**question)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = AudioDiffusionLM.from_pretrained(folder)
assert loaded.generate(**question).output.tokens.equal(answer.output.tokens)
print(answer.texts, f"in {answer.output.nfe} forward passes")
