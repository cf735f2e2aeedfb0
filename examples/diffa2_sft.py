"""DIFFA-2 in four stages, on a CPU: each starts from what the one before has learned.

    python examples/diffa2_sft.py                     all stages, about 20 minutes
    python examples/diffa2_sft.py --stage 4           one of them
    python examples/diffa2_sft.py --max-steps 2       a smoke test

Frozen in every stage: the Whisper encoder and LLaDA's own weights.  The stages are the published
ones; the sizes are those of a toy (the published settings stand beside).  At full scale:
``dllm-audio train examples/configs/diffa2.json``.  A table shows held-out accuracy after each
stage.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from dllm_audio.losses import ElboSampling
from dllm_audio.toy import ASR, QA
from dllm_audio.training import LoRASettings, Optimization, Preference, Stage
from toy_run import main

TOY = Optimization(  # AdamW, gradients clipped
    schedule="cosine",
    weight_decay=0.02,  # published: 0.05
    max_grad_norm=1.0,
    batch_size=32,
    bf16=False,  # published: True
)

# 1: hear what is said.
# Trains: the semantic adapter and 20 learned vectors in front of it; no acoustic adapter yet.
# Data: speech and its words.
# Loss: masked diffusion, the cross-entropy of masked response tokens over the noise level.
STAGE1 = Stage(
    name="stage1",
    adapter="prompted",
    trains=("adapter",),
    data="asr",
    # Published: 1e-4, 20 epochs of 11,000 h, 1,000 steps of warmup, batch 20 on 64 GPUs.
    optimization=replace(TOY, learning_rate=2e-3, max_steps=250, warmup_steps=30),
)

# 2: hear how it sounds.
# Trains: stage 1's semantic adapter and a new acoustic one, which takes the place of the vectors.
# Data: questions about speech, sounds and music.
# Loss: as before.
STAGE2 = Stage(
    name="stage2",
    starts_from="stage1",
    adapter="dual",
    trains=("adapter",),
    data="qa",
    # Published: 5e-5, cosine, 10 epochs of 3,700 h, 1,000 steps of warmup, batch 3 on 64 GPUs.
    optimization=replace(TOY, learning_rate=2e-3, max_steps=650, warmup_steps=50),
)

# 3: let the language model adapt.
# Trains: both adapters, and new low-rank updates of the language model's projections.
# Data and loss: as before.
LORA = LoRASettings(
    rank=8,
    alpha=16,
    dropout=0.05,
    targets=("q_proj", "k_proj", "v_proj", "ff_proj", "up_proj"),
)
STAGE3 = Stage(
    name="stage3",
    starts_from="stage2",
    adapter="dual",
    lora=LORA,
    trains=("adapter", "lora"),
    data="qa",
    # Published: as stage 2.
    optimization=replace(TOY, learning_rate=3e-4, max_steps=150, warmup_steps=20),
)

# 4: prefer the right answer.
# Trains: as in stage 3.
# Data: the same questions, each with its answer and with one that has a single wrong word.
# Loss: VRPO (arXiv 2505.19223), the logistic loss of how much more likely than to a frozen copy of
#     stage 3 the right answer has become, and the wrong one less.
STAGE4 = Stage(
    name="stage4",
    starts_from="stage3",
    adapter="dual",
    lora=LORA,
    trains=("adapter", "lora"),
    data="preferences",
    preference=Preference(
        "vrpo",
        beta=0.2,
        reference="adapter",
        sampling=ElboSampling(num_samples=2),  # published: 4; of short answers two say enough
    ),
    # Published: 5e-5, cosine, 10 epochs of 3,000 pairs, batch 1 on 16 GPUs.
    optimization=replace(TOY, learning_rate=2e-4, max_steps=160, warmup_steps=10, batch_size=16),
)

STAGES = [
    (STAGE1, lambda data: data.answers(ASR)),
    (STAGE2, lambda data: data.answers(QA)),
    (STAGE3, lambda data: data.answers(QA)),
    (STAGE4, lambda data: data.preferences(QA)),
]

if __name__ == "__main__":
    sys.exit(main(__doc__, "diffa2", STAGES))
