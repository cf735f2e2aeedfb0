"""Loading a tokenizer from a checkpoint's folder without running its code."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .errors import CheckpointError, one_line
from .files import parse_json, read_json, read_text
from .protocols import Tokenizer

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
_OTHERS = ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
_PROBE = "A 1, b\n<é>"


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """The tokenizer described by ``tokenizer.json`` and ``tokenizer_config.json``.

    Only these files and those that older versions wrote beside them are read, within bounds: a
    tokenizer class named in them is never imported.

    Args:
        directory: local folder.

    Raises:
        CheckpointError: no ``tokenizer.json``, or one that cannot be read or used; names the file.
    """
    folder = Path(directory)
    file = folder / FILE
    if not file.exists():
        raise CheckpointError(f"{directory}: there is no {FILE}")
    _check(folder)
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    # What was checked is what is read, and nothing beside it.
    with tempfile.TemporaryDirectory() as scratch:
        for name in (FILE, SETTINGS, *_OTHERS):
            if (folder / name).exists():
                shutil.copyfile(folder / name, Path(scratch) / name)
        try:
            tokenizers.Tokenizer.from_file(str(Path(scratch) / FILE))
            found = PreTrainedTokenizerFast.from_pretrained(scratch, local_files_only=True)
            found.decode(found.encode(_PROBE, add_special_tokens=False))
        except BaseException as error:
            # tokenizers raises the bare Exception, or, where its own code panics, not even that.
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            reason = one_line(error)
            raise CheckpointError(f"{file}: not readable as a tokenizer ({reason})") from error
    found.name_or_path = str(directory)
    return found


def _check(folder: Path) -> None:
    """Refuse files that may never end, hold no JSON, or settings of another kind."""
    parse_json(read_text(folder / FILE, CheckpointError), str(folder / FILE), CheckpointError)
    for name in _OTHERS:
        if (folder / name).exists():
            read_text(folder / name, CheckpointError)
    path = folder / SETTINGS
    if not path.exists():
        return
    settings = read_json(path)
    longest = settings.get("model_max_length")
    if longest is not None and not (type(longest) in (int, float) and longest > 0):
        raise CheckpointError(f"{path}: model_max_length: expected a number > 0, got {longest!r}")
    template = settings.get("chat_template")
    if not isinstance(template, str | list | None):
        raise CheckpointError(f"{path}: chat_template: expected a text, got {template!r:.80}")
