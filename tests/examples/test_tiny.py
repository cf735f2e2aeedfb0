"""Every stage of training the small model runs, resumes and keeps what it must not change."""

import importlib
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperForConditionalGeneration

from dllm_audio.toy import MAX_SECONDS, UNITS, UNKNOWN, Scene, SceneMaker, Span, embedded_bank
from dllm_audio.toy.scenes import BankSentences
from dllm_audio.toy.vocabulary import content_words

TINY = Path(__file__).parents[2] / "examples" / "tiny"
BANK = embedded_bank()
MODULES = [path.stem for path in TINY.glob("*.py")]


@pytest.fixture
def tiny(monkeypatch):
    """Import scripts of ``examples/tiny`` and forget them afterwards."""
    monkeypatch.syspath_prepend(str(TINY))
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tiny_labels():
    """``labels``, for tests that run many examples."""
    sys.path.insert(0, str(TINY))
    yield importlib.import_module("labels")
    sys.path.remove(str(TINY))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A folder of a Whisper with new weights."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=4, encoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whisper")
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def clips(tiny, whisper, tmp_path, monkeypatch):
    module = tiny("clips")
    monkeypatch.setattr(module, "CLIPS_PER_FILE", 40)
    # The voices of the package stand for synthesizers, which are not installed here.
    monkeypatch.setattr(module, "OtherVoices", lambda split, people: BankSentences(BANK, split))
    (tmp_path / "clips").mkdir()
    module._write(tmp_path / "clips", module.Sources("train", whisper), 0)
    return module.Clips(tmp_path / "clips")


def learner():
    torch.manual_seed(3)
    return torch.nn.Linear(4, 1)


def line_step(module):
    def step_function(step):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        return (module(x) - x.sum(1, keepdim=True)).square().mean(), {}

    return step_function


def test_a_stopped_run_ends_as_an_undisturbed_one(tiny, tmp_path):
    fitting = tiny("fitting")
    schedule = fitting.Schedule(12, 0.05, warmup=2, save_every=5)
    whole = learner()
    fitting.fit("line", whole, line_step(whole), schedule, tmp_path / "whole")

    stopped = learner()
    function = line_step(stopped)

    def until_eight(step):
        if step == 8:
            raise KeyboardInterrupt
        return function(step)

    with pytest.raises(KeyboardInterrupt):
        fitting.fit("line", stopped, until_eight, schedule, tmp_path / "parts")
    again = learner()
    fitting.fit("line", again, line_step(again), schedule, tmp_path / "parts")
    assert torch.equal(again.weight, whole.weight)
    assert not list((tmp_path / "parts").glob("*.partial"))
    # A finished run is only loaded.
    finished = learner()
    fitting.fit("line", finished, until_eight, schedule, tmp_path / "parts")
    assert torch.equal(finished.weight, whole.weight)


def test_the_averaged_weights_lag_behind_the_last_ones(tiny, tmp_path):
    fitting = tiny("fitting")
    module = learner()
    fitting.fit("line", module, line_step(module), fitting.Schedule(5, 0.05), tmp_path)
    saved = torch.load(tmp_path / "line.pt", weights_only=True)
    assert torch.equal(module.weight, saved["averages"]["weight"])
    assert not torch.equal(module.weight, saved["parameters"]["weight"])


def test_facts_follow_the_scenes(tiny, clips):
    labels = tiny("labels")
    for name, column in labels.fact_labels(clips.scenes).items():
        for scene, index in zip(clips.scenes, column.tolist(), strict=True):
            value = labels.value_of(scene, name)
            if value is None:
                assert index == labels.NOT_ASKED
            else:
                assert labels.FACTS[name][index] == value
    known = {scene.subject: labels.value_of(scene, "familiar") for scene in clips.scenes}
    assert known["sound"] == known["music"] == "known"
    assert known["digits"] is None
    assert {known.get(name, UNKNOWN) for name in ("other_sound", "silence")} == {UNKNOWN}


@given(st.lists(st.sampled_from(UNITS), min_size=1, max_size=6), st.integers(0, 99))
def test_the_slots_of_a_clip_read_as_its_words(tiny_labels, units, seed):
    """Runs of equal labels, read across pauses, are the content words in their order."""
    labels, rng, spans, position = tiny_labels, np.random.default_rng(seed), [], 0.1
    for unit in units:
        length = 0.26 * len(unit.split()) + rng.uniform(0, 0.2)
        spans.append(Span(unit, position, position + length))
        position += length + rng.uniform(0, 0.2)
    scene = Scene(np.zeros(0, np.float32), "digits", tuple(units), tuple(spans))
    found = labels.slot_labels(scene, int(position * 12.5) + 1, 12.5).tolist()
    runs = [label for label, _ in itertools.groupby(x for x in found if x >= 0)]
    words = [labels.SLOT_WORDS[label - 1] for label in runs if label != labels.PAUSE]
    assert words == [word for unit in units for word in content_words(unit)]


def test_hints_count_runs_and_match_the_digit_that_is_asked_for(tiny, tmp_path):
    hints, described = tiny("hints"), tiny("described")
    assert hints.begun_so_far([0, 7, 7, 0, 7, 9, 9, 0], silence=0).tolist() == [
        0,
        1,
        1,
        1,
        2,
        3,
        3,
        3,
    ]
    tokenizer = tiny("make_tokenizer").make_tokenizer(tmp_path)
    backbone = tiny("settings").build_backbone(tokenizer)
    module, rng = hints.Hints(backbone, tokenizer), np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        record = described.draw_record(rng, "contains", None)
        own = described.Describer(tokenizer).slots([record.scene], rng)[0]
        labels = module._matches(own, record)
        matched = {
            tokenizer.decode([own[i]]).strip() for i in (labels == 1).nonzero()[:, 0].tolist()
        }
        assert (record.answer == "yes") == bool(matched)
        assert all(word in record.question for word in matched)
        seen.add(record.answer)
    assert seen == {"yes", "no"}


def test_hints_read_the_slots_where_they_stand(tiny, tmp_path):
    """A middle layer that copies its input shows at every slot the word that describes it."""
    hints, described, asking = tiny("hints"), tiny("described"), tiny("asking")
    tokenizer = tiny("make_tokenizer").make_tokenizer(tmp_path)
    backbone = tiny("settings").build_backbone(tokenizer)
    module, rng, found = hints.Hints(backbone, tokenizer), np.random.default_rng(1), []
    records = [described.draw_record(rng, "digits", None) for _ in range(4)]
    slots = described.Describer(tokenizer).slots([record.scene for record in records], rng)
    lengths = torch.tensor([len(row) for row in slots])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in slots], batch_first=True)
    backbone.blocks[0].register_forward_pre_hook(lambda block, inputs: found.append(inputs[0]))
    audio = asking.AudioEmbeddings(backbone.embed(ids), lengths)
    asking.Answering(backbone, tokenizer)(audio, records, torch.Generator().manual_seed(0))
    module._seen = found[0]
    prompts = asking.ChatTemplate(tokenizer)([record.prompt for record in records])
    read, heard = [], []
    module.kind.register_forward_pre_hook(lambda head, inputs: heard.append(inputs[0]))
    module.count.register_forward_pre_hook(lambda head, inputs: read.append(inputs[0]))
    module(slots, records, prompts)
    queries = tiny("settings").NUM_QUERIES
    expected = torch.cat([backbone.embed(torch.tensor(row[queries:])) for row in slots])
    torch.testing.assert_close(read[0], expected)
    expected = torch.cat([backbone.embed(torch.tensor(row[:queries])) for row in slots])
    torch.testing.assert_close(heard[0], expected)


def test_other_speech_is_unknown_where_it_is_loud(tiny_labels):
    labels = tiny_labels
    scene = Scene(np.zeros(0, np.float32), "other_speech")
    loudness = torch.tensor([-70.0, -20.0, -25.0, -60.0, -30.0])
    unknown = 1 + labels.SLOT_WORDS.index(UNKNOWN)
    expected = [labels.PAUSE, unknown, unknown, labels.PAUSE, unknown]
    assert labels.slot_labels(scene, 5, 12.5, loudness).tolist() == expected


def test_stored_states_are_those_of_the_encoder(tiny, clips, whisper):
    settings, module = tiny("settings"), tiny("clips")
    encoder = settings.build_encoder(whisper)
    assert encoder.window_seconds == MAX_SECONDS
    scene = SceneMaker(BANK, "heldout").draw(np.random.default_rng(0), "digits")
    rows = [0, 3, 7]
    states = clips.states(rows)
    for place, row in enumerate(rows):
        alone = clips.states([row])
        frames = int(alone.lengths)
        assert frames == int(states.lengths[place])
        for tap in settings.TAPS:
            one, other = states.hidden_states[tap][place, :frames], alone.hidden_states[tap][0]
            assert torch.equal(one, other)
    facts = module._facts_of(scene, 17)
    assert len(facts["loudness"]) == int(len(scene.waveform) / 16_000 * settings.SLOT_RATE)
    facts.pop("loudness"), facts.pop("frames")
    assert replace(scene, waveform=np.zeros(0)).words == module._scene_from(facts).words


def test_folding_the_standard_changes_no_output(tiny, clips, whisper, tmp_path):
    settings, standardizing = tiny("settings"), tiny("standardizing")
    tokenizer = tiny("make_tokenizer").make_tokenizer(tmp_path)
    encoder, backbone = settings.build_encoder(whisper), settings.build_backbone(tokenizer)
    adapter = settings.build_adapter(encoder, backbone).eval()
    states, standard = clips.states([0, 1, 2]), standardizing.Standard.of(clips)
    with torch.no_grad():
        before = adapter(standard(states)).embeds
        standard.fold(*standardizing.parts_of(adapter))
        after = adapter(states).embeds
    torch.testing.assert_close(before, after, atol=2e-4, rtol=1e-3)


def test_every_question_fits_the_response_and_each_word_is_one_token(tiny, tmp_path):
    described, asking = tiny("described"), tiny("asking")
    tokenizer = tiny("make_tokenizer").make_tokenizer(tmp_path)
    backbone = tiny("settings").build_backbone(tokenizer)
    rng = np.random.default_rng(0)
    records = [described.draw_record(rng) for _ in range(300)]
    rows = asking.Answering(backbone, tokenizer).responses([r.answer for r in records])
    for record, row in zip(records, rows, strict=True):
        assert tokenizer.decode(row, skip_special_tokens=True) == record.answer
    audio = described.Describer(tokenizer)(backbone, [r.scene for r in records], rng)
    assert bool(torch.isfinite(audio.embeds).all())
    text = "Ünknown wörds 漢字 and \n tabs\t!"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_all_stages_run_and_freeze_what_they_must(tiny, clips, whisper, tmp_path, monkeypatch):
    run = tmp_path / "run"
    tokenizer = tiny("make_tokenizer").make_tokenizer(run / "tokenizer")
    lm = tiny("train_lm")
    lm.report = lambda *_: {}
    lm.train_lm(tokenizer, run, steps=2, batch_size=3)
    adapters = tiny("train_adapters")
    monkeypatch.setattr(adapters, "CLIPS_PER_STEP", {"naming": 3, "joint": 2})
    steps = {"naming": 2, "joint": 2}
    model = adapters.train_adapters(clips, run, whisper, steps)
    own, other = model.encoder.state_dict(), tiny("settings").build_encoder(whisper).state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    before, after = lm.load_lm(run, tokenizer).state_dict(), model.backbone.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    alone = adapters.train_adapters(clips, run, whisper, steps, acoustic=False)
    model.save_pretrained(run / "model", storage_dtype=torch.int8)
    evaluate = tiny("evaluate")
    loaded = evaluate.AudioDiffusionLM.from_pretrained(run / "model")
    records = evaluate.questions(2)["event", "acoustic"]
    assert 0 <= evaluate.accuracy(loaded, records) <= 1
    assert 0 <= evaluate.accuracy(alone, records) <= 1


class Parrot:
    """A model that answers everything alike."""

    def __init__(self, text):
        self.text = text

    def generate(self, *, audio, prompts, sampler):
        assert len(audio) == len(prompts)
        return type("Answer", (), {"texts": [self.text] * len(prompts)})()


def test_accuracy_counts_exact_answers(tiny):
    evaluate = tiny("evaluate")
    records = evaluate.questions(20)["tempo", "acoustic"]
    for text in ("slow", "fast", "A. slow", "slow."):
        expected = sum(record.answer == text for record in records) / len(records)
        assert evaluate.accuracy(Parrot(text), records) == expected


def test_verdicts_name_what_is_missing(tiny):
    evaluate = tiny("evaluate")
    score = evaluate.Score
    assert score("event", "acoustic", 10, 0.96, 0.5).verdict == "met"
    assert score("event", "acoustic", 10, 0.96, 0.86).verdict == "misses by 5.0 points"
    assert score("event", "acoustic", 10, 0.90, 0.1).verdict == "misses by 5.0 points"
    assert score("spoken sequences", "semantic", 10, 0.98, 0.98).verdict == "met"
    assert score("digits", "semantic", 10, 0.1).verdict == ""
    assert score(evaluate.FALSE_ALARMS, "semantic", 10, 0.01).verdict == "met"
    assert score(evaluate.FALSE_ALARMS, "semantic", 10, 0.05).verdict == "misses by 3.0 points"
