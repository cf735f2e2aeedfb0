"""``python -m dllm_audio.cli``: the command, for launchers that start modules."""

from __future__ import annotations

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
