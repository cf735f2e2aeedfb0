"""Saved models from strangers: each folder gives a model or one line that names the file."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dllm_audio import AudioDiffusionLM
from dllm_audio.errors import CheckpointError, DllmAudioError
from small_parts import character_tokenizer, small_model

VALUES: tuple[Any, ...] = (
    *(float("nan"), float("inf"), 1e308, -1, 0, 0.5, 5),
    *(10**12, 2**24, 2**40, 10**400),
    *("x", "", "flash_attention_2", [], [1], [[]], {}, {"a": 1}, None, True),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "whole"
    small_model(character_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*path, name))


def load(folder: Path) -> str:
    """The error's one line, or nothing where the folder gives a model that answers or says why."""
    found = ""
    try:
        model = AudioDiffusionLM.from_pretrained(folder)
    except CheckpointError as error:
        found = str(error)
    else:
        with suppress(DllmAudioError):
            model.generate(prompts="Hi")
    assert "\n" not in found
    assert not found or found.startswith(str(folder))
    return found


@pytest.mark.parametrize("turn", range(len(VALUES)))
def test_any_value_in_any_field_of_a_config(turn: int, folder: Path) -> None:
    """Every value is tried, and in every field three of them."""
    config = json.loads((folder / "config.json").read_text())
    config.update(_attn_implementation="eager", attn_implementation="eager")
    for index, path in enumerate(places(config)):
        if (index + turn) % (len(VALUES) // 3):
            continue
        changed = copy.deepcopy(config)
        inner = changed
        for name in path[:-1]:
            inner = inner[name]
        # A number of that many digits is not printed by json.
        value = "1" + 400 * "0" if VALUES[turn] == 10**400 else json.dumps(VALUES[turn])
        inner[path[-1]] = "HERE"
        (folder / "config.json").write_text(json.dumps(changed).replace('"HERE"', value))
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_max_length": "x"}, "tokenizer_config.json: model_max_length: expected a number"),
        ({"model_max_length": -1}, "tokenizer_config.json: model_max_length: expected a number"),
        ({"model_max_length": [1]}, "tokenizer_config.json: model_max_length: expected a number"),
        ({"chat_template": 3}, "tokenizer_config.json: chat_template: expected a text"),
        ({"eos_token": 3}, "eos_token has to be"),
        ({"added_tokens_decoder": {"x": 3}}, "added_tokens_decoder"),
        ({"padding_side": "up"}, "Padding side"),
        ({"tokenizer_class": "Nope", "auto_map": {"AutoTokenizer": ["a.B", None]}}, ""),
    ],
)
def test_settings_of_a_tokenizer(change: dict[str, Any], message: str, folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = load(folder)
    assert message in found
    assert bool(found) == bool(message)


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": _split("((a*)*)*(")},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": "x"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},  # a panic
        {"model": {"type": "WordLevel", "vocab": {}, "unk_token": "u"}},
        {"model": {"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}},
        {"model": 3},
    ],
)
def test_a_damaged_tokenizer(change: dict[str, Any], folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert "tokenizer.json: not readable as a tokenizer" in load(folder)


@pytest.mark.parametrize("text", [None, "{", '{"model": 3}'])
def test_no_copy_of_a_tokenizer_stays(
    text: str | None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    if text is not None:
        (folder / "tokenizer.json").write_text(text)
    assert bool(load(folder)) == (text is not None)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json"])
@pytest.mark.parametrize(
    "text", ['{"a": ' + 5000 * "9" + "}", 100_000 * "[", "", "[]", '"\\ud800"']
)
def test_texts_that_break_readers_of_json(name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text)
    assert name in load(folder)


@pytest.mark.parametrize("kind", ["device", "pipe"])
@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("added_tokens.json", "chat_template.jinja", "processor_config.json"),
        *("model.safetensors", "generation_config.json", "chat_template.json"),
    ],
)
def test_files_that_never_end_are_not_read(name: str, kind: str, folder: Path) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    unread = name in ("generation_config.json", "chat_template.json")
    assert unread or name in load(folder)
    if unread:
        assert not load(folder)
