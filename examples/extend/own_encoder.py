"""An encoder of your own on raw waveforms: one convolution, 50 frames a second, untrained."""

import tempfile

from torch import Tensor, nn, tensor

from dllm_audio import AudioDiffusionLM, EncoderOutput, SemanticAdapter, register, toy


@register("encoder", "one-convolution")
class OneConvolution(nn.Module):
    num_layers, sampling_rate, window_seconds = 0, 16000, None  # clips of any length

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.convolution = nn.Conv1d(1, hidden_size, kernel_size=320, stride=320)

    def to_config(self) -> dict[str, int]:
        return {"hidden_size": self.hidden_size}

    def features(self, waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:  # the front end
        lengths = tensor([len(waveform) for waveform in waveforms])
        return nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        frames = self.convolution(features[:, None]).transpose(1, 2)
        return EncoderOutput(frames, (frames,), lengths // 320)


small = toy.small_model()
question = {"prompts": "What is said?", "audio": toy.clips()[0].waveform}
adapter = SemanticAdapter(encoder_dim=32, lm_dim=small.backbone.config.d_model)
model = AudioDiffusionLM.from_parts(OneConvolution(32), adapter, small.backbone, small.tokenizer)
answer = model.generate(**question)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = AudioDiffusionLM.from_pretrained(folder)
assert loaded.generate(**question).output.tokens.equal(answer.output.tokens)
