"""DIFFA-2 in four stages.

    python examples/diffa2_sft.py                     all stages at toy scale, on a CPU
    python examples/diffa2_sft.py --stage 4           one of them
    python examples/diffa2_sft.py --max-steps 2       a smoke test
    python examples/diffa2_sft.py --estimate          parameters and memory of the real model
    accelerate launch --config_file examples/configs/fsdp2.yaml examples/diffa2_sft.py \\
        --config examples/configs/diffa2.json

1: the semantic adapter and 20 learned vectors learn to transcribe.  2: both adapters learn to
answer questions.  3: LoRA on the language model joins them.  4: all of these learn from pairs of
a right and a wrong answer (VRPO).  A table shows held-out accuracy after each stage.
"""

from __future__ import annotations

from curriculum import main
from dllm_audio.training import DIFFA2

if __name__ == "__main__":
    main(__doc__, DIFFA2, "openai/whisper-large-v3", default="all")
