"""What the page shows is what was decoded, and no text is ever markup; without gradio."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dllm_audio import toy
from dllm_audio.demo.comparing import Comparison
from dllm_audio.demo.hearing import hear_clip
from dllm_audio.demo.rendering import failure, panel, panels
from dllm_audio.demo.settings import DemoSettings
from dllm_audio.demo.strategies import OWN, strategies
from dllm_audio.demo.watching import Cell, View, watch
from dllm_audio.errors import AudioDecodeError, AudioTooLongError, InvalidArgumentError
from dllm_audio.samplers import from_dict

CLIP = toy.clips()[0]
QUESTION = CLIP.questions[0]
HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "&lt;script&gt;",
    "${alert(1)}",
    "</li></ol><img src=x onerror=alert(1)>",
    "\x00\x1b[31m\u202e",
]
TAGS = {"div", "p", "section", "h3", "ol", "li", "dl", "dt", "dd", "span"}


class Reader(HTMLParser):
    """Elements and texts as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def model():
    return toy.small_model().eval()


@pytest.fixture(scope="module")
def compare(model) -> Comparison:
    return Comparison(model, strategies(model), DemoSettings())


def test_every_text_is_inert() -> None:
    for text in HOSTILE:
        cells = tuple(Cell(text, sure, fresh=True) for sure in (0.1, 0.9, math.nan))
        view = View(cells, text, 1, 3, 0.1, final=True, confidence=0.5)
        for html in (panel(text, view), panels([(text, view)], note=text), failure(text)):
            read = Reader(html)
            assert read.tags <= TAGS
            assert read.attributes <= {"class", "style", "title", "role", "aria-label"}
            shown = "".join(c if c.isprintable() else " " for c in text).strip()
            assert shown in "".join(read.texts)


def test_cells_say_what_happened_to_them() -> None:
    cells = (
        Cell(None),
        Cell(None, reopened=True),
        Cell("three", 1.0, fresh=True),
        Cell("five", 0.0),
        Cell("", 0.9, ends=True),
        Cell(" ", math.nan),
    )
    html = panel("rule", View(cells, "_ _ three five", 2, 2, 0.25))
    items = re.findall(r"<li[^>]*>.*?</li>", html)
    assert len(items) == len(cells)
    assert "masked" in items[0]
    assert "taken back" in items[1]
    assert "dd-fresh" in items[2]
    assert "100 % sure" in items[2]
    assert "background:#fde725;color:#22303c" in items[2]
    assert "background:#440154;color:#ffffff" in items[3]
    assert ">end<" in items[4]
    assert ">␣<" in items[5]
    assert "dd-fresh" not in "".join(items[3:])
    text = " ".join(Reader(html).texts)
    assert "250 ms" in text
    assert "1.00" in text  # two tokens in two passes


@pytest.mark.parametrize("name", ["one token a step", "WINO", "rho-EOS", OWN])
def test_a_watched_answer_is_the_generated_one(model, name: str) -> None:
    sampler = from_dict({**strategies(model)[name].to_dict(), "trace": True})
    predictor = model.prepare(audio=CLIP.path, prompts=QUESTION.prompt)
    *passes, last = watch(model, predictor, sampler)
    found = model.generate(audio=CLIP.path, prompts=QUESTION.prompt, sampler=sampler)
    assert last.text == found.texts[0]
    assert last.passes == found.output.nfe == len(passes)
    assert last.final
    assert last.confidence == pytest.approx(found.output.confidence.item(), nan_ok=True)
    sure = [cell.confidence for cell in last.cells]
    assert sure == pytest.approx(found.output.trace.confidence[0, : len(sure)].tolist())
    assert [view.passes for view in passes] == list(range(1, len(passes) + 1))
    if name == "one token a step":
        assert all(sum(cell.fresh for cell in view.cells) >= 1 for view in passes)
    for view in passes:
        for cell in view.cells:
            assert (cell.text is None) <= math.isnan(cell.confidence)
            assert cell.text is not None or not cell.fresh


def test_time_between_passes_is_not_counted(model) -> None:
    ticks = iter(range(1000))
    predictor = model.prepare(audio=CLIP.path, prompts=QUESTION.prompt)
    views = list(watch(model, predictor, model.default_sampler(), clock=lambda: next(ticks)))
    assert [view.seconds for view in views] == [float(n + 1) for n in range(len(views))]


def test_two_strategies_take_turns_and_change_nothing(compare: Comparison) -> None:
    names = ["one token a step", OWN]
    waits: list[float] = []
    slow = Comparison(compare.model, compare.strategies, compare.settings, waits.append)
    both = list(slow(str(CLIP.path), QUESTION.prompt, names, 2.0))
    assert waits
    assert all(0 < wait <= 2 for wait in waits)
    alone = [list(compare(str(CLIP.path), QUESTION.prompt, [name], 0.0)) for name in names]

    def sections(html: str) -> list[str]:
        plain = re.sub(r"<dt>time</dt><dd>[^<]*</dd>", "", html)
        return re.findall(r"<section.*?</section>", plain)

    assert len(both) == max(map(len, alone))
    assert sections(both[-1]) == [sections(each[-1])[0] for each in alone]
    assert sections(both[2])[0] == sections(alone[0][2])[0]  # pass by pass


@pytest.mark.parametrize(
    ("clip", "question", "chosen", "message"),
    [
        (None, "What?", [OWN], "clip: expected a recording"),
        (str(CLIP.path), " ", [OWN], "question: expected a text"),
        (str(CLIP.path), None, [OWN], "question: expected a text"),
        (str(CLIP.path), "x" * 1001, [OWN], "1001 characters"),
        (str(CLIP.path), "What?", ["<b>none</b>"], "strategy: expected one of"),
        ("nowhere/<b>.wav", "What?", [OWN], "<b>.wav: cannot be read"),
    ],
)
def test_what_is_wrong_is_a_message(compare: Comparison, clip, question, chosen, message) -> None:
    (html,) = compare(clip, question, chosen, 0.0)
    read = Reader(html)
    assert 'role="alert"' in html
    assert message in "".join(read.texts)
    assert read.tags <= TAGS
    assert "nowhere" not in html


def test_a_pace_that_is_none_is_refused(compare: Comparison) -> None:
    for pace in (-1.0, 1e9, math.nan):
        (html,) = compare(str(CLIP.path), "What?", [OWN], pace)
        assert "pace: expected" in html


def test_a_bad_file_is_named_without_its_folder(tmp_path: Path, model) -> None:
    (tmp_path / "no.wav").write_text("no sound at all")
    with pytest.raises(AudioDecodeError) as error:
        hear_clip(tmp_path / "no.wav", model.encoder, 1000)
    assert str(error.value).startswith("no.wav: expected audio such as WAV")
    assert str(tmp_path) not in str(error.value)
    with pytest.raises(AudioTooLongError, match=r"no\.wav: expected a file of at most"):
        hear_clip(tmp_path / "no.wav", model.encoder, 10)
    (tmp_path / "cut.flac").write_bytes(_flac(tmp_path)[:-500])
    with pytest.raises(AudioDecodeError) as error:
        hear_clip(tmp_path / "cut.flac", model.encoder, 10**6)
    assert "allow_truncated" not in str(error.value)


def _flac(folder: Path) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(folder / "whole.flac", noise, 16000)
    return (folder / "whole.flac").read_bytes()


def test_of_a_long_recording_the_beginning_is_heard(tmp_path: Path, compare: Comparison) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 9), 16000)
    heard = hear_clip(tmp_path / "long.wav", compare.model.encoder, 10**6)
    window = compare.model.encoder.window_seconds
    assert heard.goes_on
    assert window / 2 <= heard.seconds <= window
    assert len(heard.waveform) == round(heard.seconds * 16000)
    *_, html = compare(str(tmp_path / "long.wav"), "What is said?", [OWN], 0.0)
    assert f"about its first {heard.seconds:.1f} s" in html
    *_, html = compare(str(CLIP.path), "What is said?", [OWN], 0.0)
    assert "about its first" not in html


def test_strategies_have_the_length_of_the_models_own(model) -> None:
    own = model.default_sampler()
    found = strategies(model)
    assert next(iter(found.values())) is own
    assert len(found) >= 8
    assert {each.gen_length for each in found.values()} == {own.gen_length}


@pytest.mark.parametrize(
    "limits", [{"max_queue": 0}, {"max_file_mb": math.inf}, {"max_question": 1.5}, {"pace": -1.0}]
)
def test_a_limit_that_is_none_is_refused(limits) -> None:
    with pytest.raises(InvalidArgumentError):
        DemoSettings(**limits)


def test_steps_carry_the_confidence_of_what_stands_there(model) -> None:
    ways = strategies(model)
    for name in ("one token a step", "WINO", "rho-EOS"):
        predictor = model.prepare(audio=CLIP.path, prompts=QUESTION.prompt)
        *steps, last = ways[name].stream(predictor)
        for step in steps:
            masked = step.tokens == predictor.mask_token_id
            assert step.confidence.shape == step.tokens.shape
            assert step.confidence.dtype == torch.float32
            assert step.confidence[masked].isnan().all()
        assert last.confidence is None
        answer = slice(0, int(last.output.lengths[0]))
        mean = steps[-1].confidence[0, answer].mean()
        torch.testing.assert_close(mean, last.output.confidence[0])
