"""DIFFA, stage 2: learn to answer questions about what is said and how it sounds.

    python examples/diffa_stage1.py && python examples/diffa_stage2.py
    accelerate launch --config_file examples/configs/fsdp2.yaml examples/diffa_stage2.py \\
        --config examples/configs/diffa.json

Both adapters train, starting from stage 1; encoder and language model are frozen.  Without
--config, a toy version trains on embedded data on a CPU.
"""

from __future__ import annotations

from curriculum import main
from dllm_audio.training import DIFFA

if __name__ == "__main__":
    main(__doc__, DIFFA, "openai/whisper-small", default="2")
