import numpy as np
import pytest
import soundfile as sf

from dllm_audio.errors import DataError, InvalidArgumentError
from dllm_audio.toy import DIGITS, SPLITS, UNITS, WordBank, embedded_bank


def test_no_voice_or_synthesizer_variant_is_in_both_splits():
    bank = embedded_bank()
    train, heldout = (set(bank.voices(split)) for split in SPLITS)
    assert train
    assert heldout
    assert not train & heldout
    variants = {
        split: {bank._voices[name]["variant"] for name in bank.voices(split)} for split in SPLITS
    }
    assert not variants["train"] & variants["heldout"]


def test_each_split_has_both_sexes_in_like_numbers():
    bank = embedded_bank()
    for split in SPLITS:
        men, women = (len(bank.voices(split, sex)) for sex in ("male", "female"))
        assert abs(men - women) <= 0.1 * (men + women)


def test_every_file_is_as_long_as_the_index_says():
    bank = embedded_bank()
    for voice in bank._voices.values():
        info = sf.info(bank.folder / voice["file"])
        assert info.samplerate == bank.sampling_rate
        assert abs(info.frames - voice["samples"]) <= 1


@pytest.mark.parametrize("voice_index", [0, -1])
@pytest.mark.parametrize("split", SPLITS)
def test_words_are_loud_and_surrounded_by_silence(split, voice_index):
    bank = embedded_bank()
    voice = bank.voices(split)[voice_index]
    whole = bank._waveform(voice)
    for text in UNITS:
        for slow in (True, False):
            word = bank.word(voice, text, slow=slow)
            assert (word.text, word.voice, word.slow) == (text, voice, slow)
            assert 0.25 < np.abs(word.waveform).max() < 1.0
        _, end = bank._voices[voice]["clips"][text][1]
        assert np.abs(whole[end + 240 : end + 720]).max() < 0.06


def test_slow_words_are_longer():
    bank = embedded_bank()
    for voice in bank.voices("heldout"):
        slow, fast = (
            sum(len(bank.word(voice, digit, slow=slow).waveform) for digit in DIGITS)
            for slow in (True, False)
        )
        assert slow > 1.3 * fast


def test_errors_name_the_argument():
    bank = embedded_bank()
    with pytest.raises(InvalidArgumentError, match="split"):
        bank.voices("test")
    with pytest.raises(InvalidArgumentError, match="sex"):
        bank.voices("train", "man")
    with pytest.raises(InvalidArgumentError, match="voice"):
        bank.word("nobody", "one", slow=True)
    with pytest.raises(InvalidArgumentError, match="text"):
        bank.word(bank.voices("train")[0], "hundred", slow=True)


def test_a_folder_without_index_is_no_bank(tmp_path):
    with pytest.raises(DataError, match="index"):
        WordBank(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(DataError, match="index"):
        WordBank(tmp_path)


def test_every_voice_says_sentences_of_other_words():
    bank = embedded_bank()
    for split in SPLITS:
        for voice in bank.voices(split):
            sentences = bank.sentences(voice)
            assert len(sentences) > 1
            for sentence in sentences:
                assert len(sentence) >= 0.2 * bank.sampling_rate
                assert 0.25 < np.abs(sentence).max() < 1.0
