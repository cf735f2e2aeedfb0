"""Whisper as a prior: the same weights from either layout, words from its pieces."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.priors import WhisperPrior, load_whisper
from dllm_audio.priors.whisper import _words

SIZES = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("whisper") / "tiny"
    WhisperForConditionalGeneration(WhisperConfig(**SIZES)).save_pretrained(path)
    return path


def test_both_layouts_predict_alike(folder: Path, tmp_path: Path) -> None:
    theirs = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    ours = load_whisper(folder)
    mel, tokens = torch.randn(1, 80, 3000), torch.randint(0, 50000, (1, 6))
    with torch.no_grad():
        expected = theirs(input_features=mel, decoder_input_ids=tokens).logits
        torch.testing.assert_close(ours(mel, tokens), expected, atol=1e-4, rtol=1e-4)
        file = tmp_path / "tiny.pt"
        torch.save({"dims": vars(ours.dims), "model_state_dict": ours.state_dict()}, file)
        torch.testing.assert_close(load_whisper(file)(mel, tokens), ours(mel, tokens))


def test_times_come_from_the_heads_that_the_folder_names(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / "generation_config.json").read_text())
    for heads, found in (([[1, 0], [0, 1]], [[0, 1], [1, 0]]), (None, [[1, 0], [1, 1]])):
        path = copied / "generation_config.json"
        path.write_text(json.dumps({**settings, "alignment_heads": heads}))
        assert load_whisper(copied).alignment_heads.indices().T.tolist() == found
    for heads in ([[5, 0]], [1], "x"):
        path.write_text(json.dumps({**settings, "alignment_heads": heads}))
        with pytest.raises(CheckpointError, match="alignment_heads: expected pairs"):
            load_whisper(copied)


def test_what_is_no_whole_whisper_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError):
        load_whisper(tmp_path)
    short = tmp_path / "short"
    WhisperForConditionalGeneration(
        WhisperConfig(**SIZES, max_source_positions=50)
    ).save_pretrained(short)
    with pytest.raises(CheckpointError, match="1500 positions"):
        load_whisper(short)
    with pytest.raises(InvalidArgumentError, match=r"^language: expected a code"):
        WhisperPrior(folder, language="klingon")


def test_pieces_that_are_written_together_are_one_word() -> None:
    pieces = [
        {"word": " Mr.", "start": -0.1, "end": 0.4, "probability": 0.5},
        {"word": " 2", "start": 0.4, "end": 0.6, "probability": 0.9},
        {"word": ",620", "start": 0.6, "end": 1.0, "probability": 1.0000001},
        {"word": " end", "start": 1.1, "end": 31.0, "probability": 0.7},
    ]
    found = list(_words(pieces, 2.0))
    assert [(w.text, w.confidence, w.start, w.end) for w in found] == [
        *[("Mr.", 0.5, 0.0, 0.4), ("2,620", 0.9, 0.4, 1.0), ("end", 0.7, 1.1, 2.0)]
    ]


def test_real_weights_hear_real_speech() -> None:
    """Needs ``DLLM_AUDIO_WHISPER``, a folder of weights, and ``DLLM_AUDIO_SPEECH``, a recording."""
    weights, speech = os.environ.get("DLLM_AUDIO_WHISPER"), os.environ.get("DLLM_AUDIO_SPEECH")
    if not weights or not speech:
        pytest.skip("needs real weights and speech")
    found = WhisperPrior(weights, language="en").hear(speech)
    assert len(found.words) > 5
    assert found.timed
    starts = [word.start for word in found.words]
    assert starts == sorted(starts)
