"""The sounds are what their names say, measured without looking at how they are made."""

import numpy as np
import pytest

from dllm_audio.toy import augment, signals, sounds, unfamiliar
from dllm_audio.toy.melodies import melody

RATE = signals.SAMPLING_RATE


def bursts(signal, threshold, hold=0.06):
    """Number of times the sound rises after at least ``hold`` seconds below the threshold."""
    envelope = np.abs(signal)
    window = int(0.01 * RATE)
    envelope = envelope[: len(envelope) // window * window].reshape(-1, window).max(axis=1)
    count, quiet = 0, 100
    for loud in envelope > threshold * envelope.max():
        count += loud and quiet >= hold * 100
        quiet = 0 if loud else quiet + 1
    return count


@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("event", ["beeping", "knocking", "clapping", "dripping", "barking"])
def test_repeat_sounds_as_often_as_asked(event, count):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        assert bursts(sounds.repeat(rng, event, count, 3.0), 0.2) == count


def test_length_does_not_tell_the_count():
    rng = np.random.default_rng(0)
    lengths = {len(sounds.repeat(rng, "beeping", count, 3.0)) for count in range(1, 6)}
    assert lengths == {3 * RATE}


def fundamental(note):
    """Hz, by autocorrelation between 150 and 2000 Hz at eight times the sampling rate."""
    spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 1 << 15)) ** 2
    correlation = np.fft.irfft(spectrum, 8 << 15)
    low, high = 8 * RATE // 2000, 8 * RATE // 150
    best = correlation[low:high].max()
    # The shortest lag that is nearly as good: longer ones are multiples of the period.
    inner = correlation[low:high]
    peak = (inner >= correlation[low - 1 : high - 1]) & (inner >= correlation[low + 1 : high + 1])
    return 8 * RATE / (low + np.flatnonzero(peak & (inner > 0.93 * best))[0])


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("contour", ["rising", "falling"])
def test_slow_melodies_have_four_notes_of_a_triad(contour, mode):
    for seed in range(5):
        signal = melody(np.random.default_rng(seed), contour, mode, "slow")
        notes = [fundamental(note) for note in np.array_split(signal, 4)]
        steps = 12 * np.log2(np.array(notes))
        assert np.all(np.diff(steps) > 0) == (contour == "rising")
        assert np.all(np.diff(steps) < 0) == (contour == "falling")
        rising = np.sort(steps) - steps.min()
        assert rising[1] == pytest.approx(4 if mode == "major" else 3, abs=0.35)
        assert rising[2] == pytest.approx(7, abs=0.35)


def test_tempo_changes_the_notes_and_not_the_length():
    rng = np.random.default_rng(1)
    lengths = {
        tempo: np.mean([len(melody(rng, "rising", "major", tempo)) for _ in range(40)])
        for tempo in ("slow", "fast")
    }
    assert lengths["slow"] == pytest.approx(lengths["fast"], rel=0.06)


@pytest.mark.parametrize("event", sounds.TEXTURES)
def test_textures_fill_their_time(event):
    signal = sounds.TEXTURES[event](np.random.default_rng(2), 2.0)
    assert len(signal) == 2 * RATE
    assert signal.dtype == np.float32
    assert np.abs(signal).max() == pytest.approx(1.0)
    quarters = np.square(signal).reshape(4, -1).mean(axis=1)
    assert quarters.min() > 0.02 * quarters.max()


def power_share(signal, low, high):
    spectrum = np.abs(np.fft.rfft(signal)) ** 2
    frequency = np.fft.rfftfreq(len(signal), 1 / RATE)
    return spectrum[(frequency >= low) & (frequency <= high)].sum() / spectrum.sum()


def test_rain_is_bright_and_wind_is_dull():
    rng = np.random.default_rng(3)
    assert power_share(sounds.rain(rng, 2.0), 1000, 8000) > 0.8
    assert power_share(sounds.wind(rng, 2.0), 0, 800) > 0.95


def test_telephone_keeps_what_an_8_khz_recording_holds():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(RATE).astype(np.float32)
    assert power_share(augment.telephone(rng, noise), 4100, 8000) < 1e-3


@pytest.mark.parametrize("snr", [0.0, 10.0])
def test_mix_has_the_asked_ratio_of_powers(snr):
    rng = np.random.default_rng(5)
    signal, noise = (rng.standard_normal(2 * RATE).astype(np.float32) for _ in range(2))
    added = augment.mix(signal, noise, snr) - signal
    found = 10 * np.log10(np.square(signal).mean() / np.square(added).mean())
    assert found == pytest.approx(snr, abs=0.3)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_changes_length_and_pitch_alike(factor):
    time = np.arange(RATE) / RATE
    changed = augment.change_speed(np.sin(2 * np.pi * 440 * time).astype(np.float32), factor)
    assert len(changed) == pytest.approx(RATE / factor, rel=0.01)
    assert fundamental(changed[:4000]) == pytest.approx(440 * factor, rel=0.03)


def test_fast_length_is_long_enough_and_even():
    for samples in (1, 2047, 2048, 2049, 63999):
        assert samples <= signals.fast_length(samples) < samples + 2048


@pytest.mark.parametrize("kinds", [unfamiliar.SOUNDS, unfamiliar.MUSIC], ids=["sounds", "music"])
def test_what_is_outside_the_world_sounds_and_held_out_kinds_are_others(kinds):
    for split in kinds.values():
        for make in split.values():
            signal = make(np.random.default_rng(6), 2.0)
            assert signal.dtype == np.float32
            assert 1.0 * RATE < len(signal) <= 2.0 * RATE + 1
            assert np.abs(signal).max() == pytest.approx(1.0)
    assert set(kinds["heldout"]) - set(kinds["train"])


def test_silence_is_silent():
    for seed in range(20):
        signal = unfamiliar.silence(np.random.default_rng(seed), 1.0)
        assert np.abs(signal).max() < 0.02


@pytest.mark.parametrize("event", sounds.STROKES)
def test_strokes_are_short_and_audible_on_a_telephone(event):
    stroke = sounds.STROKES[event](np.random.default_rng(7))
    assert len(stroke) <= 0.65 * RATE
    assert power_share(stroke, 0, 4000) > 0.7
