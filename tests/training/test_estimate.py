from __future__ import annotations

from dllm_audio.losses import MaskedDiffusionLoss
from dllm_audio.training import DIFFA, estimate_memory, meta_foundation


def test_the_loss_holds_as_many_rows_as_the_loss_itself_says() -> None:
    foundation = meta_foundation("openai/whisper-small")
    logits = MaskedDiffusionLoss().chunk_rows * foundation.backbone.config.vocab_size * 4
    # Logits, their gradient, and softmax.
    assert estimate_memory(foundation, DIFFA["stage1"]).loss == 3 * logits
