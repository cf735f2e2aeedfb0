"""What the page for users of the published code says, on small folders of the published layouts."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from checkpoints.published_layouts import diffa_2_folder, diffa_folder, llada_folder, whisper_folder
from dllm_audio.cli import main
from dllm_audio.evaluation.benchmarks import BENCHMARKS
from dllm_audio.samplers import PRESETS

PAGE = Path(__file__).parents[1] / "docs" / "migrating.md"
CODE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CHOICES = ["a dog", "a bell", "rain"]


def programs(language: str) -> list[str]:
    return [code for found, code in CODE.findall(PAGE.read_text()) if found == language]


def write_tokenizer(folder: Path) -> None:
    """One token a character, with the markers where the golden LLaDA has its special ids."""
    special = {
        "<|endoftext|>": 200,
        "<|startoftext|>": 201,
        "<|eot_id|>": 202,
        "<|start_header_id|>": 203,
        "<|end_header_id|>": 204,
        "<|mdm_mask|>": 206,
    }
    letters = {chr(i + 32): i for i in range(95)} | {"\n": 95}
    rest = {f"[{i}]": i for i in range(96, 211) if i not in special.values()}
    tokenizer = Tokenizer(models.WordLevel({**letters, **rest, **special}, unk_token="[96]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.save_pretrained(folder)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which every name of the page exists."""
    monkeypatch.chdir(tmp_path)
    for name in ("openai/whisper-small", "openai/whisper-large-v3"):
        whisper_folder(tmp_path / name)
    llada = llada_folder(tmp_path / "GSAI-ML" / "LLaDA-8B-Instruct")
    write_tokenizer(llada)
    diffa_folder(tmp_path / "DIFFA")
    diffa_2_folder(tmp_path / "DIFFA-2")
    tone = np.sin(np.arange(8000) * 0.05)
    (tmp_path / "audio").mkdir()
    (tmp_path / "test_clean").mkdir()
    for path in ("clip.wav", "audio/0.wav", "audio/1.wav", "test_clean/a.wav"):
        soundfile.write(tmp_path / path, tone, 16000)
    rows = [
        {
            "id": str(i),
            "audio_id": f"{i}.wav",
            "question": "What is it?",
            "choices": CHOICES,
            "answer": CHOICES[i],
            "task": "sound",
            "difficulty": "easy",
        }
        for i in range(2)
    ]
    (tmp_path / "mmau-test-mini.json").write_text(json.dumps(rows))
    predicted = [{**row, "model_output": row["answer"]} for row in rows]
    (tmp_path / "predictions.json").write_text(json.dumps(predicted))
    (tmp_path / "test_clean" / "wav.scp").write_text("utt-1 a.wav\n")
    (tmp_path / "test_clean" / "text").write_text("utt-1 hello world\n")
    return tmp_path


def commands() -> list[str]:
    joined = "\n".join(programs("bash")).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("dllm-audio")]


@pytest.mark.parametrize("number", range(len(commands())))
def test_commands_work_on_published_folders(place: Path, number: int) -> None:
    assert main(shlex.split(commands()[number])[1:]) == 0


@pytest.mark.parametrize("number", range(len(programs("python"))))
def test_programs_work_on_published_folders(place: Path, number: int) -> None:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(programs("python")[number], str(PAGE), "exec"), {})
    assert shown.getvalue()


def test_benchmarks_and_presets_of_the_page_exist() -> None:
    page = PAGE.read_text()
    for name in re.findall(r"`eval ([a-z][a-z-]*)", page):
        assert name in BENCHMARKS, name
    for name, preset in re.findall(r"`eval ([a-z][a-z-]*) --preset ([a-z0-9-]+)`", page):
        assert preset in BENCHMARKS[name].presets, (name, preset)
    for name in re.findall(r"--sampler ([a-z0-9-]+)", page):
        assert name in PRESETS, name


def test_settings_are_those_of_the_published_scripts(place: Path) -> None:
    """One token a step without a cache; with --sampler diffa-2 the factor rule, EOS stop."""
    found = []
    for command in commands()[:3]:
        words = shlex.split(command)[1:]
        assert main(words) == 0
        run = json.loads((place / words[words.index("--output") + 1] / "run.json").read_text())
        found.append(json.dumps(run))
    plain, fast, asr = found
    assert '"steps": 16' in plain
    assert '"factor"' not in plain
    assert '"factor": 1.0' in fast
    assert '"eos_stop": true' in fast
    assert '"steps": 128' in asr
    assert '"gen_length": 128' in asr
    assert all('"cache": null' in run or '"cache"' not in run for run in found)
