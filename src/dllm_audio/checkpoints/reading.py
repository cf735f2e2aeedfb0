"""Reading the one weight file of a published folder, whatever its container, without code."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError
from ..weights import check_inside, check_tensors, iter_weights, read_pickle

PICKLE = "pytorch_model.bin"
SAFETENSORS = "model.safetensors"


def read_tensors(folder: str | Path, unsafe_pickle: bool = False) -> dict[str, Tensor]:
    """Every tensor of a published folder, on the CPU.

    Safetensors are preferred where a folder has both.

    Args:
        folder: holds ``model.safetensors`` (or shards) or ``pytorch_model.bin``.
        unsafe_pickle: also reads pickles in containers that today's ``torch.save`` does not write
            (see ``dllm_audio.weights.read_pickle``).  Code is not run, whatever is given here.

    Raises:
        CheckpointError: no weights, damaged, or something else than named tensors.
        UnsafeCheckpointError: would run code, or lies outside the folder.
    """
    root = Path(folder)
    if any(root.glob("*.safetensors")) or any(root.glob("*.safetensors.index.json")):
        return check_tensors(root, dict(iter_weights(root)))
    path = root / PICKLE
    if not path.exists():
        raise CheckpointError(f"{root}: holds neither {SAFETENSORS} nor {PICKLE}")
    check_inside(root, path)
    return check_tensors(path, read_pickle(path, unusual_container=unsafe_pickle))
