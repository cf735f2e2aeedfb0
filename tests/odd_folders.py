"""Saved models that were changed at random: each is loaded and asked, and what came is printed.

Run as a script, because a crash would end the process, and for the memory of the process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from test_hostile_folders import VALUES, places


def as_text(value: Any) -> str:
    # A number of that many digits is not printed by json.
    return "1" + 400 * "0" if value == 10**400 else json.dumps(value)


def other_values(folder: Path, rng: random.Random) -> str:
    """Values of any kind in some fields of a JSON file."""
    name = rng.choice(["config.json"] * 3 + ["tokenizer_config.json", "processor_config.json"])
    path, done = folder / name, []
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = json.loads(path.read_text())
        place, value = rng.choice(list(places(content))), rng.choice(VALUES)
        inner = content
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = "HERE"
        text = json.dumps(content).replace('"HERE"', as_text(value))
        done.append(f"{name}: {'.'.join(place)} = {as_text(value):.20}")
        path.write_text(text)
        if value == 10**400:
            break  # not read again
    return ", ".join(done)


def lost_fields(folder: Path, rng: random.Random) -> str:
    """A field of the config is missing, or stands in another's place."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    place = rng.choice(list(places(content)))
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    value = inner.pop(place[-1])
    if rng.random() < 0.5:
        inner[rng.choice([*inner, "unknown"])] = value
    path.write_text(json.dumps(content))
    return f"config.json: without {'.'.join(place)}"


def other_bytes(folder: Path, rng: random.Random) -> str:
    """Damaged, cut or exchanged bytes; weights in their header, where the sizes are."""
    path = rng.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.randrange(min(len(data), 3000))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    path.write_bytes(data)
    return f"{path.name}: bytes"


def special_file(folder: Path, rng: random.Random) -> str:
    """A pipe, a device, a folder or another file in the place of a file."""
    path = rng.choice(sorted(folder.iterdir()))
    others = sorted(folder.iterdir())
    path.unlink()
    kind = rng.choice(("pipe", "device", "folder", "other", "nothing"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other":
        path.symlink_to(rng.choice(others))
    return f"{path.name}: {kind}"


CHANGES: tuple[Callable[[Path, random.Random], str], ...] = (
    *(other_values,) * 4,
    *(lost_fields, other_bytes, special_file),
)


def use(folder: Path) -> str:
    """The error, or nothing where the folder gives a model that answers or says why it cannot."""
    from dllm_audio import AudioDiffusionLM
    from dllm_audio.errors import CheckpointError, DllmAudioError

    try:
        model = AudioDiffusionLM.from_pretrained(folder)
    except CheckpointError as error:
        return str(error)
    with suppress(DllmAudioError):
        model.generate(prompts="Hi")
    return ""


def main() -> None:
    from small_parts import character_tokenizer, small_model

    root, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    small_model(character_tokenizer()).save_pretrained(root / "whole")
    assert not use(root / "whole")
    for number in range(first, first + count):
        rng, folder = random.Random(number), root / str(number)
        shutil.copytree(root / "whole", folder)
        record: dict[str, object] = {
            "folder": str(folder),
            "done": rng.choice(CHANGES)(folder, rng),
        }
        print(json.dumps(record), file=sys.stderr, flush=True)  # which one it was, in a crash
        start = time.process_time()
        record["error"] = use(folder)
        record["seconds"] = time.process_time() - start
        print(json.dumps(record), flush=True)
        shutil.rmtree(folder)
    print(json.dumps({"kibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main()
