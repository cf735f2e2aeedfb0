"""The picture shows of every position what stood there, and when."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dllm_audio import toy
from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.outputs import Trace
from dllm_audio.samplers import EditingSampler, preset
from dllm_audio.samplers.animation import animate_trace

SVG = "{http://www.w3.org/2000/svg}"
NAN = float("nan")


def seen(path, seconds):
    """Every text with the span of seconds in which it is seen, from the rules of the file."""
    root = ET.parse(path).getroot()
    style = root.find(f"{SVG}style").text
    found = []
    for group in root.iter(f"{SVG}g"):
        name = group.get("class")
        rule = re.search(rf"@keyframes {name}{{(.*?)}}(?=@|$)", style).group(1)
        whole = float(re.search(rf"animation:{name} ([\d.]+)s", style).group(1))
        frames = [
            (float(p) / 100 * whole, int(o))
            for p, o in re.findall(r"([\d.]+)%{opacity:(\d)}", rule)
        ]
        on = [t for t, o in frames if o]
        found.append((group.find(f"{SVG}text").text, round(on[0] / seconds), on[-1], whole))
    return found


@given(
    st.lists(st.tuples(st.integers(-1, 6), st.floats(0, 1)), min_size=1, max_size=12),
    st.sampled_from([0.3, 1.0]),
)
def test_a_text_appears_after_its_pass_and_stays(tmp_path_factory, commits, seconds):
    path = tmp_path_factory.mktemp("svg") / "a.svg"
    step = torch.tensor([[when for when, _ in commits]])
    sure = torch.tensor([[NAN if when < 0 else c for when, c in commits]])
    labels = [f"w{n} <&>" for n in range(len(commits))]
    animate_trace(Trace(step, sure), labels, path, seconds_per_pass=seconds)
    shown = [entry for entry in seen(path, seconds) if entry[0].startswith("w")]
    assert [(text, first) for text, first, *_ in shown] == [
        (label, when + 1) for label, (when, _) in zip(labels, commits, strict=True) if when >= 0
    ]
    assert all(last == pytest.approx(whole, rel=1e-3) for _, _, last, whole in shown)
    texts = [t.text for t in ET.parse(path).getroot().iter(f"{SVG}text")]
    assert all(label in texts for label in labels)


def test_what_was_taken_back_goes_again(tmp_path):
    drafts = torch.tensor([[[7, 0]], [[8, 0]], [[8, 5]]])
    confidence = torch.tensor([[[0.4, NAN]], [[0.9, NAN]], [[0.9, 0.8]]])
    trace = Trace(torch.tensor([[1, 2]]), torch.tensor([[0.9, 0.8]]), drafts, confidence)
    path = tmp_path / "a.svg"
    animate_trace(trace, ["cat", "sat"], path, decode=lambda token: f"t{token}", seconds_per_pass=1)
    shown = {
        text: (first, round(last)) for text, first, last, _ in seen(path, 1) if "pass" not in text
    }
    whole = round(4 + 2.5, 0)
    assert shown == {"t7": (1, 2), "cat": (2, whole), "sat": (3, whole)}


def test_an_answer_of_the_small_model_moves_and_stands_still(tmp_path):
    model, clip = toy.small_model(), toy.clips()[0]
    for number, sampler in enumerate(
        (
            preset("answers", gen_length=16, block_length=16, trace=True),
            EditingSampler(16, 16, 0.9, 0.9, 3, trace=True),
        )
    ):
        prompt = clip.questions[0].prompt
        output = model.generate(audio=clip.path, prompts=prompt, sampler=sampler).output
        labels = [
            model.tokenizer.decode([token], skip_special_tokens=True) for token in output.tokens[0]
        ]
        path = tmp_path / f"{number}.svg"
        animate_trace(output.trace, labels, path, question=prompt, waveform=clip.waveform)
        root = ET.parse(path).getroot()
        assert "three" in root.get("aria-label")
        # Without motion everything final is seen.
        hidden = [g for g in root.iter(f"{SVG}g") if g.get("opacity") == "0"]
        assert all("three" not in g.find(f"{SVG}text").text for g in hidden)
        assert len(path.read_bytes()) < 40_000


def test_what_does_not_fit_is_named(tmp_path):
    trace = Trace(torch.tensor([[0, 1]]), torch.tensor([[0.9, 0.6]]))
    two = Trace(trace.step.repeat(2, 1), trace.confidence.repeat(2, 1))
    for arguments, options, error, name in (
        ((two, ["a", "b"], tmp_path / "a.svg"), {}, ShapeError, r"trace\.step"),
        ((trace, ["a"], tmp_path / "a.svg"), {}, ShapeError, "labels"),
        ((trace, ["a", "b"], tmp_path / "a.gif"), {}, InvalidArgumentError, "path"),
        (
            (trace, ["a", "b"], tmp_path / "a.svg"),
            {"seconds_per_pass": 0},
            InvalidArgumentError,
            "seconds",
        ),
        (
            (trace, ["a", "b"], tmp_path / "a.svg"),
            {"waveform": torch.zeros(2, 3)},
            ShapeError,
            "waveform",
        ),
    ):
        with pytest.raises(error, match=name):
            animate_trace(*arguments, **options)
    assert not list(tmp_path.iterdir())
