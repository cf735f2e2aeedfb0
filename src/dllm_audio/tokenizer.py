"""Loading a tokenizer from a checkpoint's folder without running its code."""

from __future__ import annotations

from pathlib import Path

from .errors import CheckpointError
from .files import read_json
from .protocols import Tokenizer


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """The tokenizer described by ``tokenizer.json`` and ``tokenizer_config.json``.

    Only these files are read: a tokenizer class named in them is never imported.

    Args:
        directory: local folder.

    Raises:
        CheckpointError: no ``tokenizer.json``, or one that cannot be read.
    """
    file = Path(directory) / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(f"{directory}: there is no tokenizer.json")
    config = file.with_name("tokenizer_config.json")
    if config.exists():
        read_json(config)
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises the bare class, whatever is wrong
        raise CheckpointError(f"{file}: not readable as a tokenizer ({error})") from error
    try:
        return PreTrainedTokenizerFast.from_pretrained(str(directory), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{file}: not readable with its configuration ({error})") from error
