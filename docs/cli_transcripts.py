"""Write what the command prints into ``cli.md`` and ``run_file.md``.

Usage: ``python docs/cli_transcripts.py [run_file]``; needed again when the model, a message or a
key of a run file changes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

import soundfile
import torch
from torch.nn import functional as F

import dllm_audio
from dllm_audio import load_audio
from dllm_audio.cli import main
from dllm_audio.training import explain

PAGE = Path(__file__).with_name("cli.md")
RUN_FILE = Path(__file__).with_name("run_file.md")
CLIPS = Path(dllm_audio.__file__).parent / "assets" / "clips"
COMMANDS = {
    "long": [
        'answer long.wav -q "What is said?"',
        "transcribe long.wav --format srt",
    ],
    "stream": ['answer digits.wav -q "Which digits are spoken?" --stream --steps 8'],
    "sure": [
        'answer digits.wav -q "Is the speaker a man or a woman?" --choices man woman',
        "transcribe digits.wav command.wav --min-confidence 0.975",
    ],
    "errors": ['answer broken.wav missing.wav command.wav -q "Which command is given?"; echo $?'],
    "info": ["info"],
}


def make_clips() -> None:
    """Sound files that the commands name, in the current folder."""
    waves = {name: load_audio(CLIPS / f"{name}.ogg") for name in ("four_digits", "command")}
    soundfile.write("digits.wav", waves["four_digits"], 16000)
    soundfile.write("command.wav", waves["command"], 16000)
    # Silence up to 4 s, so that a window holds one clip: the small model knows no mixtures.
    padded = [F.pad(wave, (0, 64000 - len(wave))) for wave in waves.values()]
    long = torch.cat([*padded, waves["four_digits"]])
    soundfile.write("long.wav", long, 16000)
    Path("broken.wav").write_text("no sound")


def transcript(line: str) -> str:
    """What a terminal would show."""
    command, _, show_code = line.partition("; ")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(shlex.split(command))
    shown = output.getvalue().replace(str(Path(dllm_audio.__file__).parent), "dllm_audio")
    return f"$ dllm-audio {line}\n{shown}" + (f"{code}\n" if show_code else "")


def run() -> None:
    """Rewrite every transcript of the page."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_clips()
        for name, lines in COMMANDS.items():
            text = "".join(map(transcript, lines)).rstrip()
            block = f"<!-- transcript: {name} -->\n```text\n{text}\n```\n<!-- end -->"
            pattern = rf"<!-- transcript: {name} -->.*?<!-- end -->"
            page = re.sub(pattern, lambda _, block=block: block, page, flags=re.DOTALL)
        os.chdir(PAGE.parent)
    PAGE.write_text(page, encoding="utf-8")


def write_run_file() -> None:
    """Rewrite the page of a run file's keys."""
    page = RUN_FILE.read_text(encoding="utf-8")
    block = f"```text\n{explain()}```"
    page = re.sub(r"```text\n.*?```", lambda _: block, page, flags=re.DOTALL)
    RUN_FILE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write_run_file()
    if sys.argv[1:] != ["run_file"]:
        run()
