"""Folders of speech that are understood as they are, and word error rates before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from dllm_audio.errors import DataError
from dllm_audio.evaluation.asr import ASR, folder_source, kaldi_source, librispeech_source
from dllm_audio.evaluation.questions import make_task


def kaldi(folder: Path, scp: str, text: str = "u1 RED CAT\nu2 DOG\n", **others: str) -> Path:
    for name, content in {"wav.scp": scp, "text": text, **others}.items():
        (folder / name).write_text(content)
    return folder


def test_kaldi_folders_are_read(tmp_path: Path) -> None:
    folder = kaldi(
        tmp_path, "u1 a.wav\r\nu2\t/data/b c.flac\n\n", "u1  RED\u2028CAT\nu2\n", utt2spk="u1 ann\n"
    )
    source = folder_source(folder)
    assert [dict(row) for row in source.rows] == [
        {"id": "u1", "audio": "a.wav", "text": "RED\u2028CAT", "speaker": "ann"},
        {"id": "u2", "audio": "/data/b c.flac", "text": ""},
    ]
    assert source.audio(0) == folder / "a.wav"
    assert source.audio(1) == Path("/data/b c.flac")
    assert folder_source(folder, audio_root="/clips").audio(0) == Path("/clips/a.wav")
    assert [item.id for item in make_task(ASR, source).items] == ["u1", "u2"]


@pytest.mark.parametrize(
    ("scp", "message"),
    [
        ("u1 a.wav\nu2 cat b.wav |\n", "'u2': expected a file, got a pipe"),
        ("u1 a.wav\nu2 touch {} |\n", "'u2': expected a file, got a pipe"),
        ("u1 a.wav\nu2 | cat\n", "'u2': expected a file, got a pipe"),
        ("u1 a.wav\nu2 raw.ark:17\n", "'u2': expected a file"),
        ("u1 a.wav\nu2\n", "'u2': expected a file"),
        ("u1 a.wav\nu1 b.wav\n", "line 2: the id 'u1' occurs twice"),
        ("u1 a.wav\n", "'u2': expected it in"),
        ("u1 a.wav\nu2 b.wav\nu3 c.wav\n", "'u3': expected its transcript"),
    ],
)
def test_a_line_that_names_no_file_is_refused_and_never_run(tmp_path, scp, message) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(DataError, match=message) as caught:
        kaldi_source(kaldi(tmp_path, scp.format(mark)))
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_parts_of_a_kaldi_folder_that_are_missing_or_not_understood_are_named(tmp_path) -> None:
    kaldi(tmp_path, "u1 a.wav\nu2 b.wav\n", segments="u1 r 0 1\n")
    with pytest.raises(DataError, match="segments: expected one file an utterance"):
        folder_source(tmp_path)
    (tmp_path / "segments").unlink()
    (tmp_path / "text").unlink()
    with pytest.raises(DataError, match="text: there is no such file"):
        folder_source(tmp_path)


def test_only_a_newline_ends_a_transcript(tmp_path: Path) -> None:
    (tmp_path / "1-2.trans.txt").write_text("1-2-0 A\u2028B\v C\n")
    (tmp_path / "1-2-0.flac").touch()
    assert [row["text"] for row in librispeech_source(tmp_path).rows] == ["A\u2028B\v C"]


def test_both_word_error_rates_are_reported(tmp_path: Path) -> None:
    rows = [{"text": "MR SMITH'S CAR", "speaker": "a"}, {"text": "", "speaker": "b"}]
    items = [ASR.item(row, i) for i, row in enumerate(rows)]
    modes = ASR.score(items, ["Mister Smith's cart", "x"]).modes
    assert list(modes) == ["wer", "wer_case_insensitive"]
    assert modes["wer"].overall.errors == 2
    assert modes["wer_case_insensitive"].overall.errors == 3  # MISTER, CART, and X
    assert modes["wer_case_insensitive"].groups["speaker"]["a"].wer == pytest.approx(2 / 3)
