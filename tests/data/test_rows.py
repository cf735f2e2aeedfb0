from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import ConcatDataset

from dllm_audio.data import (
    ASR_INSTRUCTIONS,
    ExampleParser,
    PreferenceParser,
    RecordDataset,
    TranscriptionParser,
    asr_instruction,
    number_apart,
    parse_rows,
)
from dllm_audio.data.fields import Row
from dllm_audio.errors import DataError
from dllm_audio.files import read_rows

PUBLISHED = {
    "audio_id": "id10270_0001",
    "audio_filepath": "wav/0001.wav",
    "transcription": "and so my fellow americans",
    "input": "How does the speaker sound?",
    "target": "She sounds calm.",
    "dataset": "VoxCeleb1",
    "duration": 4.5,
    "seed_transcript": "[00:00-00:02] (Sigh)",
}


def user(*blocks: dict) -> dict:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


AUDIO = {"type": "audio", "audio": "a.wav"}


def text(value: str) -> dict:
    return {"type": "text", "text": value}


def test_a_published_row(tmp_path: Path) -> None:
    example = ExampleParser()(Row(PUBLISHED, 7, "train.json", tmp_path))
    assert example.row == 7
    assert example.audio == str(tmp_path / "wav/0001.wav")
    assert (example.instruction, example.target) == (PUBLISHED["input"], PUBLISHED["target"])
    assert (example.id, example.duration) == ("id10270_0001", 4.5)


def test_stage_one_learns_the_transcription() -> None:
    example = TranscriptionParser(seed=3)(Row(PUBLISHED, 7, "train.json"))
    assert example.target == PUBLISHED["transcription"]
    assert example.instruction == PUBLISHED["input"]
    for blank in ({}, {"input": " "}):
        row = {k: v for k, v in PUBLISHED.items() if k != "input"} | blank
        example = TranscriptionParser(seed=3)(Row(row, 7, "train.json"))
        assert example.instruction == asr_instruction(7, 3)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_table_s_numbers_are_texts(tmp_path: Path, suffix: str) -> None:
    mark = "," if suffix == "csv" else "\t"
    lines = [["audio_filepath", "input", "target", "duration"]]
    lines += [["a.wav", "What?", "She sounds calm.", duration] for duration in ("4.5", "")]
    path = tmp_path / f"data.{suffix}"
    path.write_text("\n".join(map(mark.join, lines)))
    dataset = RecordDataset.from_file(path, ExampleParser())
    assert [record.duration for record in dataset] == [4.5, None]


def test_the_asr_instructions() -> None:
    assert len(set(ASR_INSTRUCTIONS)) == 25
    assert {asr_instruction(row) for row in range(1000)} == set(ASR_INSTRUCTIONS)
    assert [asr_instruction(r, 1) for r in range(50)] != [asr_instruction(r, 2) for r in range(50)]


def test_a_published_preference_row() -> None:
    row = {**PUBLISHED, "chosen": "A sigh.", "rejected": "A soft whisper.", "dpo_source": "x"}
    pair = PreferenceParser()(Row(row, 2, "dpo.json"))
    assert (pair.chosen, pair.rejected, pair.row) == ("A sigh.", "A soft whisper.", 2)


@pytest.mark.parametrize(
    ("instruction", "target"), [("instruction", "answer"), ("question", "response")]
)
def test_other_usual_names(instruction: str, target: str) -> None:
    row = {"audio": b"RIFF", instruction: "What?", target: "That."}
    example = ExampleParser()(Row(row, 0, "rows"))
    assert (example.audio, example.instruction, example.target) == (b"RIFF", "What?", "That.")


@pytest.mark.parametrize(
    ("blocks", "instruction"),
    [
        ([AUDIO, text("What is said?")], "What is said?"),
        ([text("Listen:"), AUDIO, text("What is it?")], "Listen: <audio> What is it?"),
        ([text("What is it?"), AUDIO], "What is it? <audio>"),
    ],
)
def test_conversations(blocks: list[dict], instruction: str) -> None:
    row = user(*blocks)
    row["messages"].append({"role": "assistant", "content": "Rain."})
    row["messages"].insert(0, {"role": "system", "content": "Be brief."})
    example = ExampleParser()(Row(row, 0, "rows"))
    assert example.instruction == instruction
    assert (example.audio, example.target, example.system) == ("a.wav", "Rain.", "Be brief.")


def test_preference_conversations() -> None:
    assistant = [{"role": "assistant", "content": [text("Rain.")]}]
    row = {
        "prompt": user(AUDIO, text("What?"))["messages"],
        "chosen": assistant,
        "rejected": "Sun.",
    }
    pair = PreferenceParser()(Row(row, 0, "rows"))
    assert (pair.instruction, pair.chosen, pair.rejected) == ("What?", "Rain.", "Sun.")
    plain = {"audio": "a.wav", "prompt": "What?", "chosen": "Rain.", "rejected": "Sun."}
    assert PreferenceParser()(Row(plain, 0, "rows")).instruction == "What?"


def without(*names: str) -> dict:
    return {name: value for name, value in PUBLISHED.items() if name not in names}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (without("target"), "target or answer or output or response"),
        ({**PUBLISHED, "target": "  "}, "target"),
        ({**PUBLISHED, "input": 3}, "input"),
        (without("audio_filepath"), "audio_filepath or audio or audio_path or path"),
        ({**PUBLISHED, "audio_filepath": "https://x.org/a.wav"}, "audio_filepath"),
        ({**PUBLISHED, "audio_filepath": {"bytes": None, "path": None}}, "audio_filepath"),
        ({**PUBLISHED, "duration": -1}, "duration"),
        ({**PUBLISHED, "duration": "four"}, "duration"),
        ({**PUBLISHED, "duration": "nan"}, "duration"),
        ({**PUBLISHED, "duration": "-4"}, "duration"),
        ("no object", "row"),
        (user(AUDIO, text("What?")), "messages"),
        ({"messages": []}, "messages"),
    ],
)
def test_errors_name_row_and_field(row: object, field: str) -> None:
    with pytest.raises(DataError) as caught:
        ExampleParser()(Row(row, 12, "train.json"))
    assert f"train.json, row 12, field {field!r}: expected" in str(caught.value)


def test_conversation_errors() -> None:
    answer = {"role": "assistant", "content": "x"}

    def parse(*blocks: object) -> None:
        messages = [{"role": "user", "content": list(blocks)}, answer]
        ExampleParser()(Row({"messages": messages}, 1, "rows"))

    with pytest.raises(DataError, match=r"messages\[user\].*at most one audio block"):
        parse(AUDIO, AUDIO, text("x"))
    with pytest.raises(DataError, match=r"messages\[user\].*'text' or 'audio'.*image"):
        parse({"type": "image"}, text("x"))
    with pytest.raises(DataError, match=r"messages\[user\].*not blank"):
        parse(AUDIO)
    with pytest.raises(DataError, match=r"field 'audio_filepath or .*an audio clip"):
        parse(text("x"))


def test_equal_answers_are_no_preference() -> None:
    row = {**PUBLISHED, "chosen": "A sigh.", "rejected": " A sigh. "}
    with pytest.raises(DataError, match="field 'rejected': expected an answer other than"):
        parse_rows([row], PreferenceParser())


def test_files(tmp_path: Path) -> None:
    rows = [PUBLISHED, {**PUBLISHED, "target": "Angry."}]
    as_list, as_lines = tmp_path / "a.json", tmp_path / "b.jsonl"
    as_list.write_text(json.dumps(rows, indent=1))
    as_lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_rows(as_list) == read_rows(as_lines) == rows
    dataset = RecordDataset.from_file(as_list, ExampleParser())
    assert dataset[1].target == "Angry."
    assert dataset[1].audio == str(tmp_path / "wav/0001.wav")
    as_lines.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"b.jsonl, line 2: not readable as JSON"):
        read_rows(as_lines)
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "none.json")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_end_at_newlines_alone(tmp_path: Path, end: str) -> None:
    rows = [{**PUBLISHED, "target": f"a{mark}b"} for mark in "\u2028\u2029\u0085"]
    path = tmp_path / "a.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)
    path.write_bytes(text.encode())
    assert read_rows(path) == rows


def test_validation_lists_what_is_wrong() -> None:
    rows = [PUBLISHED, {**PUBLISHED, "input": None}, PUBLISHED, {**PUBLISHED, "duration": 0}]
    dataset = RecordDataset(rows, ExampleParser(), "train.json")
    with pytest.raises(DataError, match=r"2 of 4 rows:\n.*row 1.*input.*\n.*row 3.*'duration'"):
        dataset.validate(progress=False)
    dataset.select([0, 2]).validate(progress=False)
    assert dataset.select([2, 0])[0].row == 2
    assert dataset.select([2, 0]).select([1])[0].row == 0


def test_records_of_several_sources_have_numbers_of_their_own() -> None:
    rows = [PUBLISHED] * 3
    first = RecordDataset(rows, ExampleParser(), "a.json").select([0, 2])
    second = RecordDataset([*rows, {**PUBLISHED, "input": None}], ExampleParser(), "b.json")
    a, b = number_apart([first, second])
    assert [record.row for record in ConcatDataset([a, b.select([2, 0])])] == [0, 2, 5, 3]
    assert b[1].origin == "b.json, row 1"
    with pytest.raises(DataError, match=r"b\.json, row 3, field 'input "):
        b[3]


def test_hugging_face_audio_is_decoded_by_us_alone(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    soundfile = pytest.importorskip("soundfile")
    from dllm_audio import load_audio

    wave = np.sin(np.linspace(0, 100, 4000)).astype(np.float32)
    path = tmp_path / "tone.wav"
    soundfile.write(path, wave, 8000, subtype="FLOAT")
    made = datasets.Dataset.from_dict(
        {"audio": [str(path)], "question": ["What?"], "answer": ["A tone."]}, split="dev"
    ).cast_column("audio", datasets.Audio())
    example = RecordDataset.from_datasets(made, ExampleParser())[0]
    assert example.origin == "dataset/dev, row 0"
    loaded = load_audio(example.audio, 8000)
    np.testing.assert_allclose(loaded.numpy(), wave, atol=1e-6)
