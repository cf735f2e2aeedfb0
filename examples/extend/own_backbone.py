"""A backbone of your own: a bag of words that every position looks at, untrained, no cache."""

import tempfile
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from dllm_audio import AudioDiffusionLM, PromptedSemanticAdapter, SemanticAdapter, register, toy


@register("backbone", "bag-of-words")
class BagOfWords(nn.Module):
    """Each position is predicted from its own embedding and the mean of all others."""

    def __init__(self, width: int, vocab_size: int, mask_token_id: int, eos_token_id: int) -> None:
        super().__init__()
        self.settings = {"width": width, "vocab_size": vocab_size}
        self.settings |= {"mask_token_id": mask_token_id, "eos_token_id": eos_token_id}
        self.config = SimpleNamespace(mask_token_id=mask_token_id, eos_token_id=eos_token_id)
        self.embed, self.head = nn.Embedding(vocab_size, width), nn.Linear(width, vocab_size)
        self.bag = nn.Linear(width, width)

    def to_config(self) -> dict[str, int]:
        """What builds the same backbone again, weights apart."""
        return self.settings

    def hidden(self, inputs_embeds: Tensor, *, attention_mask=None, output_positions, **_: Any):
        """States ``[B, M, D]`` at the wanted positions."""
        seen = (
            inputs_embeds if attention_mask is None else inputs_embeds * attention_mask[..., None]
        )
        states = inputs_embeds + self.bag(seen.sum(dim=1, keepdim=True))
        return states.take_along_dim(output_positions[..., None], dim=1)


small, clip = toy.small_model(), toy.clips()[0]
adapter = PromptedSemanticAdapter(SemanticAdapter(small.encoder.hidden_size, lm_dim=32), 4)
backbone = BagOfWords(32, len(small.tokenizer), mask_token_id=5, eos_token_id=1)
model = AudioDiffusionLM.from_parts(small.encoder, adapter, backbone, small.tokenizer)
answer = model.generate(prompts="What is said?", audio=clip.waveform)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = AudioDiffusionLM.from_pretrained(folder)
again = loaded.generate(prompts="What is said?", audio=clip.waveform)
assert again.output.tokens.equal(answer.output.tokens)
