"""An encoder of your own on raw waveforms: one convolution, 50 frames a second, untrained."""

import tempfile

import torch
from torch import Tensor, nn

from dllm_audio import (
    AudioDiffusionLM,
    EncoderOutput,
    PromptedSemanticAdapter,
    SemanticAdapter,
    register,
    toy,
)


@register("encoder", "one-convolution")
class OneConvolution(nn.Module):
    """Frames of ``hop`` samples, from clips of any length."""

    num_layers, sampling_rate, window_seconds = 0, 16000, None

    def __init__(self, hidden_size: int, hop: int = 320) -> None:
        super().__init__()
        self.hidden_size, self.hop = hidden_size, hop
        self.convolution = nn.Conv1d(1, hidden_size, kernel_size=hop, stride=hop)

    def to_config(self) -> dict[str, int]:
        return {"hidden_size": self.hidden_size, "hop": self.hop}

    def features(self, waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        return nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """Frames ``[B, S, E]``, all hidden states, and how many frames are a row's own."""
        frames = self.convolution(features[:, None]).transpose(1, 2)
        return EncoderOutput(frames, (frames,), lengths // self.hop)


small, clip = toy.small_model(), toy.clips()[0]
adapter = PromptedSemanticAdapter(SemanticAdapter(32, small.backbone.config.d_model), 4)
model = AudioDiffusionLM.from_parts(OneConvolution(32), adapter, small.backbone, small.tokenizer)
answer = model.generate(prompts="What is said?", audio=clip.waveform)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = AudioDiffusionLM.from_pretrained(folder)
again = loaded.generate(prompts="What is said?", audio=clip.waveform)
assert again.output.tokens.equal(answer.output.tokens)
