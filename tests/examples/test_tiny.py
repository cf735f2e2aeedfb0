"""Every stage of training the tiny model runs, resumes and keeps what it must not change."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TINY = Path(__file__).parents[2] / "examples" / "tiny"
MODULES = [path.stem for path in TINY.glob("*.py")]


@pytest.fixture
def tiny(monkeypatch):
    """Import scripts of ``examples/tiny`` and forget them afterwards."""
    monkeypatch.syspath_prepend(str(TINY))
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def clips(tiny, tmp_path, monkeypatch):
    module = tiny("clips")
    monkeypatch.setattr(module, "CLIPS_PER_FILE", 24)
    (tmp_path / "clips").mkdir()
    module._write(tmp_path / "clips", "train", None, 0)
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


def test_labels_and_targets_follow_the_scenes(tiny, clips):
    training = tiny("train_encoder")
    scenes = clips.scenes
    targets = training.word_targets(scenes)
    labels = training.frame_labels(scenes, 200)
    for row, (scene, target) in enumerate(zip(scenes, targets, strict=True)):
        assert [training.WORDS[word - 1] for word in target] == list(scene.words)
        middle = labels["words"][row] != training.BLANK
        assert set(labels["words"][row][middle].tolist()) == set(target)
        assert torch.equal(labels["places"][row] != training.UNKNOWN, middle)
        numbered = labels["places"][row][middle].tolist()
        assert [target[place] for place in numbered] == labels["words"][row][middle].tolist()
        assert set(labels["spans"][row].tolist()) <= {training.BLANK, *target}
    facts = training.fact_labels(scenes)
    for name, column in facts.items():
        for scene, index in zip(scenes, column.tolist(), strict=True):
            value = getattr(scene, name)
            if value is None:
                assert index == training.UNKNOWN
            else:
                assert training.FACTS[name][index] == value


def test_the_short_window_gives_the_encoder_s_own_states(tiny):
    training, batches = tiny("train_encoder"), tiny("batches")
    settings = tiny("settings")
    torch.manual_seed(0)
    encoder = settings.build_encoder()
    training.initialize(encoder)
    features = torch.randn(2, 80, batches.FULL_WINDOW)
    with torch.no_grad():
        own = encoder(features, torch.tensor([batches.FULL_WINDOW] * 2)).hidden_states
        states = training.hidden_states(encoder, features)
    for one, other in zip(own, states, strict=True):
        torch.testing.assert_close(one, other)


def test_each_epoch_sees_every_clip_once_in_a_window_that_fits(tiny):
    module = tiny("batches")
    frames = torch.randint(20, 400, (256,))
    batches = module.Batches(frames, batch_size=8, pool=4)
    for epoch in range(2):
        seen = []
        for step in range(32 * epoch, 32 * (epoch + 1)):
            rows, window = batches(step)
            assert int(frames[rows].max()) <= window <= module.FULL_WINDOW
            assert window % 4 == 0
            seen += rows.tolist()
        assert sorted(seen) == list(range(256))


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


def test_all_stages_run_and_freeze_what_they_must(tiny, clips, tmp_path):
    run = tmp_path / "run"
    tokenizer = tiny("make_tokenizer").make_tokenizer(run / "tokenizer")
    tiny("train_encoder").train_encoder(clips, run, steps=2, batch_size=3)
    lm = tiny("train_lm")
    lm.report = lambda *_: {}
    lm.train_lm(tokenizer, run, steps=2, batch_size=3)
    adapters = tiny("train_adapters")
    before = adapters.load_parts(run, acoustic=True)
    model = adapters.train_adapters(clips, run, steps=2, clips_per_step=2)
    for part in ("encoder", "backbone"):
        own, other = (getattr(m, part).state_dict() for m in (before, model))
        assert all(torch.equal(own[name], other[name]) for name in own)
    fresh, trained = before.adapter.state_dict(), model.adapter.state_dict()
    assert any(not torch.equal(fresh[name], trained[name]) for name in fresh)
    alone = adapters.train_adapters(clips, run, steps=1, acoustic=False, clips_per_step=2)
    model.save_pretrained(run / "model", storage_dtype=torch.float16)
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
        assert evaluate.accuracy(Parrot(text), records, batch_size=7) == expected


def test_verdicts_name_what_is_missing(tiny):
    score = tiny("evaluate").Score
    assert score("event", "acoustic", 10, 0.9, 0.5).verdict == "met"
    assert score("event", "acoustic", 10, 0.9, 0.8).verdict == "misses by 5.0 points"
    assert score("event", "acoustic", 10, 0.80, 0.1).verdict == "misses by 5.0 points"
    assert score("spoken sequences", "semantic", 10, 0.9, 0.9).verdict == "met"
    assert score("describe", "mixed", 10, 0.1).verdict == ""
