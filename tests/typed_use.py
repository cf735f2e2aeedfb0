"""The public interface as a strict type checker sees it; checked, not run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dllm_audio import (
    AcousticAdapter,
    AudioDiffusionLM,
    AudioEmbeddings,
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    DualAdapter,
    EncoderOutput,
    LinearSchedule,
    LLaDA,
    LLaDAConfig,
    LowConfidenceSampler,
    MaskedDiffusionLoss,
    SemanticAdapter,
    Threshold,
    VRPOLoss,
    WhisperEncoder,
    condition,
    draw_masks,
    estimate_elbo,
    load_audio,
    mask_tokens,
    register,
)
from dllm_audio.samplers import CommitRule, CommitState, Sampler, from_dict, preset
from dllm_audio.toy import clips, small_model


@register("commit", "typed-first")
@dataclass(frozen=True)
class First(CommitRule):
    """The first position that is left."""

    def commit(self, state: CommitState) -> Tensor:
        return state.candidates & (state.candidates.cumsum(-1) == 1)


@register("adapter", "typed-mean")
class Mean(nn.Module):
    """The mean of all frames."""

    def __init__(self, encoder_dim: int, lm_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, lm_dim)

    def to_config(self) -> dict[str, int]:
        return {"encoder_dim": self.project.in_features, "lm_dim": self.project.out_features}

    def forward(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        mean: Tensor = self.project(encoder_output.last_hidden_state.mean(1, keepdim=True))
        return AudioEmbeddings(mean, torch.ones_like(encoder_output.lengths))


def answer(folder: Path) -> list[str] | None:
    """Load, ask, save."""
    model = AudioDiffusionLM.from_pretrained(folder, dtype=torch.bfloat16, device_map="cpu")
    sampler: Sampler = from_dict(preset("answers", gen_length=16).to_dict())
    messages = [{"role": "user", "content": "Who are you?"}]
    print(model.generate(messages=messages).texts)
    generation = model.generate(
        prompts=["What is said?"], audio=[load_audio("a.wav")], sampler=sampler
    )
    model.save_pretrained(folder)
    return generation.texts


def assemble() -> AudioDiffusionLM:
    """A model from parts."""
    encoder = WhisperEncoder.from_pretrained("openai/whisper-small")
    backbone = LLaDA.from_pretrained("GSAI-ML/LLaDA-8B-Instruct", dtype=torch.bfloat16)
    width = backbone.config.d_model
    semantic = SemanticAdapter(encoder.hidden_size, width)
    acoustic = AcousticAdapter(encoder.hidden_size, width, taps=(2, 5, 8, 11), num_heads=12)
    dual = AudioDiffusionLM.from_parts(encoder, DualAdapter(semantic, acoustic), backbone)
    own = Mean(encoder.hidden_size, width)
    return AudioDiffusionLM.from_parts(encoder, own, backbone, sampler=dual.default_sampler())


def decode() -> tuple[Tensor, int]:
    """Samplers over a predictor."""
    config = LLaDAConfig(vocab_size=50, mask_token_id=49, eos_token_id=48)
    predictor = condition(LLaDA(config), torch.tensor([[1, 2, 3]]))
    guided = LowConfidenceSampler(4, 8, guidance=ClassifierFreeGuidance(1.0))(predictor)
    BlockSampler(8, 8, 4, temperature=0.5)(predictor)
    output = CachedParallelSampler(8, 4, Threshold(0.9), cache="dual", trace=True)(predictor)
    CachedParallelSampler(8, 4, First())(predictor)
    return torch.cat((guided.tokens, output.tokens)), output.nfe


def learn() -> Tensor:
    """Losses over a predictor."""
    config = LLaDAConfig(vocab_size=50, mask_token_id=49, eos_token_id=48)
    predictor = condition(LLaDA(config), torch.tensor([[1, 2, 3]]))
    x_0, t = torch.ones(1, 4, dtype=torch.long), torch.tensor([0.5])
    masked = mask_tokens(x_0, t, config.mask_token_id)
    loss = MaskedDiffusionLoss(LinearSchedule())(predictor, x_0, masked.mask, t).loss
    masks, ratios = draw_masks(torch.ones(1, 4, dtype=torch.bool), 4)
    elbo = estimate_elbo(predictor, x_0, masks, ratios)
    return loss + VRPOLoss(beta=0.2)(elbo, elbo, elbo, elbo).loss


def ask_the_small_one() -> list[str] | None:
    """The model that ships with the package."""
    return small_model().generate(prompts="What is said?", audio=clips()[0].path).texts
