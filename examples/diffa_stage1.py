"""DIFFA, stage 1: learn to transcribe.

    python examples/diffa_stage1.py
    python examples/diffa_stage1.py --estimate
    accelerate launch --config_file examples/configs/fsdp2.yaml examples/diffa_stage1.py \\
        --config examples/configs/diffa.json

The semantic adapter and 20 learned vectors train on speech and its transcription; encoder and
language model are frozen.  Without --config, a toy version trains on embedded data on a CPU.
"""

from __future__ import annotations

from curriculum import main
from dllm_audio.training import DIFFA

if __name__ == "__main__":
    main(__doc__, DIFFA, "openai/whisper-small", default="1")
