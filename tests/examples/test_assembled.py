"""DIFFA and DIFFA-2 part by part, and parts of one's own: every file runs as a user starts it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperModel

from dllm_audio import LLaDA, LLaDAConfig, toy

EXAMPLES = Path(__file__).parents[2] / "examples"
EXTENSIONS = sorted((EXAMPLES / "extend").glob("*.py"))
PUBLISHED = {"diffa": "36,621,056", "diffa2": "84,285,440"}  # parameters of the adapters


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def start(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return start


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_and_an_answer(start, name: str) -> None:
    shown = start(name)
    assert PUBLISHED[name] in shown
    assert "three seven five six" in shown
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 100


@pytest.mark.parametrize(("name", "layers"), [("diffa", 12), ("diffa2", 32)])
def test_two_flags_take_other_encoders_and_language_models(
    start, tmp_path: Path, name: str, layers: int
) -> None:
    sizes = {"d_model": 12, "encoder_layers": layers, "encoder_attention_heads": 2}
    rest = {"encoder_ffn_dim": 8, "decoder_layers": 1, "decoder_ffn_dim": 8, "vocab_size": 8}
    ids = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}
    heads = {"decoder_attention_heads": 2, "max_target_positions": 4}
    WhisperModel(WhisperConfig(**sizes, **rest, **ids, **heads)).save_pretrained(tmp_path / "w")
    tokenizer = toy.small_model().tokenizer
    small = {"d_model": 16, "n_layers": 1, "n_heads": 2, "mlp_hidden_size": 32}
    special = {"mask_token_id": 5, "eos_token_id": 1, "max_sequence_length": 1024}
    torch.manual_seed(0)
    LLaDA(LLaDAConfig(**small, **special, vocab_size=len(tokenizer))).save_pretrained(
        tmp_path / "l"
    )
    tokenizer.save_pretrained(tmp_path / "l")
    shown = start(name, "--whisper", tmp_path / "w", "--llada", tmp_path / "l")
    assert shown.splitlines()[-1].startswith("What words are spoken? [")
    with pytest.raises(SystemExit):
        start(name, "--whisper", tmp_path / "w")


@pytest.mark.parametrize("path", EXTENSIONS, ids=lambda path: path.stem)
def test_parts_of_one_s_own_come_back_equal(path: Path, tmp_path: Path) -> None:
    """In a process of their own, so that what they register does not stay."""
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    assert len(path.read_text().splitlines()) < 40


def test_there_is_an_extension_of_every_kind() -> None:
    kinds = {path.stem for path in EXTENSIONS}
    assert kinds == {"own_adapter", "own_backbone", "own_commit_rule", "own_encoder"}
