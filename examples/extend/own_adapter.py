"""An adapter of your own: every fourth frame through one linear layer, untrained."""

import tempfile

from torch import nn

from dllm_audio import AudioDiffusionLM, AudioEmbeddings, EncoderOutput, register, toy


@register("adapter", "every-nth")
class EveryNth(nn.Module):
    """One frame in ``stride``, projected to the language model's width."""

    def __init__(self, encoder_dim: int, lm_dim: int, stride: int = 4) -> None:
        super().__init__()
        self.settings = {"encoder_dim": encoder_dim, "lm_dim": lm_dim, "stride": stride}
        self.stride, self.projection = stride, nn.Linear(encoder_dim, lm_dim)

    def to_config(self) -> dict[str, int]:
        """What builds the same adapter again, weights apart."""
        return self.settings

    def forward(self, heard: EncoderOutput) -> AudioEmbeddings:
        """Embeddings ``[B, A, D]`` and how many are a row's own."""
        embeds = self.projection(heard.last_hidden_state[:, :: self.stride])
        return AudioEmbeddings(embeds, (heard.lengths - 1) // self.stride + 1)


small = toy.small_model()
question = {"prompts": "What is said?", "audio": toy.clips()[0].waveform}
adapter = EveryNth(small.encoder.hidden_size, small.backbone.config.d_model)
model = AudioDiffusionLM.from_parts(small.encoder, adapter, small.backbone, small.tokenizer)
answer = model.generate(**question)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = AudioDiffusionLM.from_pretrained(folder)
assert loaded.generate(**question).output.tokens.equal(answer.output.tokens)
