import numpy as np
import pytest
import soundfile as sf

from dllm_audio.errors import DataError, InvalidArgumentError
from dllm_audio.toy import HumanDigits, SceneMaker, embedded_bank


@pytest.fixture
def folder(tmp_path):
    """Two people, each with one take of three digits; tones of their own stand for voices."""
    time = np.arange(2400) / 8000
    for speaker, base in (("ada", 300), ("bob", 150)):
        for digit in (1, 2, 7):
            tone = 0.5 * np.sin(2 * np.pi * (base + 10 * digit) * time)
            sf.write(tmp_path / f"{digit}_{speaker}_0.wav", tone, 8000)
    (tmp_path / "notes.txt").write_text("not audio")
    return tmp_path


def test_names_tell_digit_and_speaker(folder):
    people = HumanDigits(folder)
    assert people.speakers == ("ada", "bob")
    assert len(people) == 6
    assert {(r.text, r.speaker) for r in people.recordings} == {
        (text, speaker) for text in ("one", "two", "seven") for speaker in ("ada", "bob")
    }
    assert len(people.recordings[0].load()) == 4800  # 0.3 s at 16 kHz, nothing padded


def test_speakers_can_be_chosen(folder):
    people = HumanDigits(folder, ["bob"])
    assert {r.speaker for r in people.recordings} == {"bob"}
    assert people.draw(np.random.default_rng(0), "bob", "nine") is None
    with pytest.raises(InvalidArgumentError, match="speakers"):
        HumanDigits(folder, ["eve"])


def test_a_folder_without_recordings_is_an_error(tmp_path):
    with pytest.raises(DataError, match="wav"):
        HumanDigits(tmp_path)


def test_people_speak_in_scenes(folder):
    maker = SceneMaker(embedded_bank(), "train", HumanDigits(folder), human_share=1.0)
    for seed in range(10):
        scene = maker.draw(np.random.default_rng(seed), "digits")
        if scene.voice in ("ada", "bob"):
            assert set(scene.words) <= {"one", "two", "seven"}
            # Nothing is claimed about how a person sounds.
            assert scene.sex is scene.rate is scene.noise is None
        else:
            assert scene.words == ("zero",)  # none of the drawn digits was recorded
