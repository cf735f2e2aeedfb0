"""DIFFA, stage 2: learn to answer questions about what is said and how it sounds.

    python examples/diffa_stage1.py && python examples/diffa_stage2.py

At toy scale on a CPU.  At full scale: ``dllm-audio train examples/configs/diffa.json``.
"""

from __future__ import annotations

import sys

from dllm_audio.toy import QA
from dllm_audio.training import Optimization, Stage
from toy_run import main

# Frozen: the Whisper encoder and LLaDA.
# Trains: stage 1's semantic adapter and a new acoustic one, which takes the place of the vectors.
# Data: questions about speech, sounds and music (published: 127 h of speech from five data sets,
#     with questions and answers that a language model wrote).
# Loss: masked diffusion, as in stage 1.
STAGE2 = Stage(
    name="stage2",
    starts_from="stage1",
    adapter="dual",
    trains=("adapter",),
    data="qa",
    optimization=Optimization(  # of AdamW; the published settings stand beside
        learning_rate=2e-3,  # 5e-5
        schedule="cosine",  # cosine
        max_steps=650,  # 10 epochs
        warmup_steps=50,  # 2,000
        weight_decay=0.02,  # 0.05
        max_grad_norm=1.0,  # 1.0
        batch_size=32,  # 4, with 2 accumulated, on 4 GPUs
        bf16=False,  # True
    ),
)

if __name__ == "__main__":
    sys.exit(main(__doc__, "diffa", [(STAGE2, lambda data: data.answers(QA))], run="2"))
