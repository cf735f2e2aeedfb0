"""A backbone of your own: every position sees the sum of all, untrained and without a cache."""

import tempfile
from types import SimpleNamespace

from torch import Tensor, nn

from dllm_audio import AudioDiffusionLM, SemanticAdapter, register, toy


@register("backbone", "bag-of-words")
class BagOfWords(nn.Module):
    def __init__(self, width: int, vocab_size: int, mask_token_id: int, eos_token_id: int) -> None:
        super().__init__()
        self.width, self.vocab_size = width, vocab_size
        self.config = SimpleNamespace(mask_token_id=mask_token_id, eos_token_id=eos_token_id)
        self.embed, self.head = nn.Embedding(vocab_size, width), nn.Linear(width, vocab_size)
        self.bag = nn.Linear(width, width)

    def to_config(self) -> dict[str, int]:
        return {"width": self.width, "vocab_size": self.vocab_size, **vars(self.config)}

    def hidden(self, inputs_embeds, *, attention_mask=None, output_positions, **_) -> Tensor:
        seen = 1 if attention_mask is None else attention_mask[..., None]
        states = inputs_embeds + self.bag((inputs_embeds * seen).sum(dim=1, keepdim=True))
        return states.take_along_dim(output_positions[..., None], dim=1)


small = toy.small_model()
question = {"prompts": "What is said?", "audio": toy.clips()[0].waveform}
adapter = SemanticAdapter(small.encoder.hidden_size, lm_dim=32)
backbone = BagOfWords(32, len(small.tokenizer), mask_token_id=5, eos_token_id=1)
model = AudioDiffusionLM.from_parts(small.encoder, adapter, backbone, small.tokenizer)
answer = model.generate(**question)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = AudioDiffusionLM.from_pretrained(folder)
assert loaded.generate(**question).output.tokens.equal(answer.output.tokens)
