"""DIFFA, stage 1: learn to hear what is said, at toy scale on a CPU.

    python examples/diffa_stage1.py

At full scale: ``dllm-audio train examples/configs/diffa.json --stage stage1``.
"""

from __future__ import annotations

import sys

from dllm_audio.toy import ASR
from dllm_audio.training import Optimization, Stage
from toy_run import main

# Frozen: the Whisper encoder and LLaDA.
# Trains: the semantic adapter and 20 learned vectors in front of it; no acoustic adapter yet.
# Data: speech and its words (published: LibriSpeech, 960 h).
# Loss: masked diffusion, the cross-entropy of masked response tokens over the noise level.
STAGE1 = Stage(
    name="stage1",
    adapter="prompted",
    trains=("adapter",),
    data="asr",
    optimization=Optimization(  # of AdamW; the published settings stand beside
        learning_rate=2e-3,  # 1e-4
        schedule="cosine",  # linear
        max_steps=250,  # 10 epochs
        warmup_steps=30,  # 1,000
        weight_decay=0.02,  # 0.05
        max_grad_norm=1.0,  # 1.0
        batch_size=32,  # 16, with 2 accumulated, on 4 GPUs
        bf16=False,  # True
    ),
)

if __name__ == "__main__":
    sys.exit(main(__doc__, "diffa", [(STAGE1, lambda data: data.answers(ASR))], run="1"))
