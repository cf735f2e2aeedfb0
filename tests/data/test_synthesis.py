from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dllm_audio.data import ExampleParser, PreferenceParser, parse_rows
from dllm_audio.data.synthesis import (
    ClipFacts,
    EndpointGenerator,
    GeneratedCorruptions,
    GeneratedQuestions,
    RuleCorruptions,
    RuleQuestions,
    synthesize_preferences,
    synthesize_questions,
)
from dllm_audio.errors import DataError, InvalidArgumentError
from dllm_audio.files import read_rows

CLIP = ClipFacts("c1", "c1.wav", "three one four", "[00:00-00:02] (Sigh)", {"sex": "woman"})
TWO = json.dumps([{"question": "What?", "answer": "A sigh."}, {"question": "Who?", "answer": "x"}])


class Scripted:
    """A generator that replies from a list and remembers what it was asked."""

    name = "scripted"

    def __init__(self, *replies: str) -> None:
        self.replies, self.prompts = list(replies), []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.replies.pop(0)


def test_generated_questions_become_published_rows(tmp_path: Path) -> None:
    generator = Scripted(f"Here you are:\n```json\n{TWO}\n```")
    made = synthesize_questions([CLIP], GeneratedQuestions(generator, 2), progress=False)
    assert [row["target"] for row in made.rows] == ["A sigh.", "x"]
    for fact in ("three one four", "Sigh", "woman"):
        assert fact in generator.prompts[0]
    made.write(tmp_path / "made.json")
    examples = parse_rows(read_rows(tmp_path / "made.json"), ExampleParser())
    assert examples[0].instruction == "What?"
    assert examples[0].audio == "c1.wav"


@pytest.mark.parametrize(
    "bad",
    [
        "I cannot do that.",
        "[{]",
        json.dumps([{"question": "What?", "answer": "A sigh."}]),
        json.dumps([{"question": "What?", "answer": " "}] * 2),
        json.dumps([{"question": "What?", "answer": "x"}] * 2),
        json.dumps([{"question": "<audio>?", "answer": "x"}, {"question": "y", "answer": "x"}]),
    ],
)
def test_a_reply_that_is_not_valid_is_asked_for_again(bad: str) -> None:
    generator = Scripted(bad, bad, TWO)
    assert len(GeneratedQuestions(generator, 2)(CLIP)) == 2
    assert "not usable" not in generator.prompts[0]
    assert "not usable" in generator.prompts[1]
    with pytest.raises(DataError, match="no valid reply in 3 attempts"):
        GeneratedQuestions(Scripted(bad, bad, bad), 2)(CLIP)


def test_wrong_answers_are_checked() -> None:
    def reply(rejected: str) -> str:
        return json.dumps({"rejected": rejected, "explanation": "the sound"})

    same, long = reply("a SIGH!"), reply("a soft whisper, and then another one, and a third one")
    made = GeneratedCorruptions(Scripted(same, long, reply("A cough.")))("What?", "A sigh.")
    assert made.rejected == "A cough."
    with pytest.raises(DataError, match="says the same"):
        GeneratedCorruptions(Scripted(same), attempts=1)("What?", "A sigh.")
    with pytest.raises(DataError, match="another length"):
        GeneratedCorruptions(Scripted(long), attempts=1)("What?", "A sigh.")


def test_a_stopped_run_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    clips = [ClipFacts(f"c{i}", f"{i}.wav", "two") for i in range(4)]
    asked: list[str] = []

    class Dying(RuleQuestions):
        def __call__(self, facts: ClipFacts):
            asked.append(facts.id)
            if len(asked) == 3:
                raise KeyboardInterrupt
            return super().__call__(facts)

    journal = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        synthesize_questions(clips, Dying(), journal, progress=False)
    whole = synthesize_questions(clips, Dying(), journal, progress=False)
    assert asked == ["c0", "c1", "c2", "c2", "c3"]
    assert whole.rows == synthesize_questions(clips, RuleQuestions(), progress=False).rows
    changed = [ClipFacts("c0", "0.wav", "three")]
    assert (
        synthesize_questions(changed, Dying(), journal, progress=False).rows[0]["target"] == "three"
    )


def test_failures_are_counted_and_total_failure_is_an_error() -> None:
    rows = [{"input": "Who?", "target": "a woman"}, {"input": "What?", "target": "gibberish"}]
    made = synthesize_preferences(rows, RuleCorruptions(), progress=False)
    assert [row["rejected"] for row in made.rows] == ["a man"]
    assert list(made.failures) == ["1"]
    with pytest.raises(DataError, match="none of 1 preferences"):
        synthesize_preferences(rows[1:], RuleCorruptions(), progress=False)


def test_failures_of_questions_about_one_clip_stay_apart() -> None:
    asked = [("Who?", "a woman"), ("What?", "gibberish"), ("Why?", "unknowable")]
    rows = [{"audio_id": "clip", "input": q, "target": a} for q, a in asked]
    made = synthesize_preferences(rows, RuleCorruptions(), progress=False)
    assert list(made.failures) == ["1: clip", "2: clip"]
    clips = [CLIP, ClipFacts("c1", "a.wav"), ClipFacts("c1", "b.wav")]
    made = synthesize_questions(clips, RuleQuestions(), progress=False)
    assert list(made.failures) == ["1: c1", "2: c1"]


@pytest.mark.parametrize(
    "clip",
    [
        ClipFacts("c", "a.wav", "say <|mdm_mask|>"),
        ClipFacts("c", "a.wav", caption="(Sigh) <|eot_id|>"),
        ClipFacts("c", "a.wav", attributes={"age": "old <audio>"}),
    ],
)
def test_facts_with_chat_markers_make_no_row(clip: ClipFacts) -> None:
    generator = Scripted()
    for maker in (RuleQuestions(), GeneratedQuestions(generator)):
        with pytest.raises(DataError, match=r"chat marker|place of the audio"):
            synthesize_questions([clip], maker, progress=False)
    row = {"input": "Who?", "target": "a woman"}
    for field in row:
        rows = [row, {**row, field: "a woman <|mdm_mask|>"}]
        made = synthesize_preferences(rows, RuleCorruptions(), progress=False)
        assert "<|mdm_mask|>" in made.failures["1"]
    assert generator.prompts == []


@pytest.mark.parametrize("field", ["input", "target"])
@pytest.mark.parametrize("value", [None, " ", 3])
def test_a_row_without_a_text_is_named_before_anything_is_paid_for(field: str, value) -> None:
    row = {"input": "Who?", "target": "a woman"}
    generator = Scripted()
    bad = {name: text for name, text in {**row, field: value}.items() if text is not None}
    with pytest.raises(DataError, match=f"rows, row 1, field '{field}': expected a text"):
        synthesize_preferences([row, bad], GeneratedCorruptions(generator), progress=False)
    assert generator.prompts == []


def test_a_remembered_pair_is_put_into_the_row_as_it_is_now(tmp_path: Path) -> None:
    row = {"audio_id": "c", "audio_filepath": "old.wav", "input": "Who?", "target": "a woman"}
    reply = json.dumps({"rejected": "a man", "explanation": "the sex"})
    corrupter = GeneratedCorruptions(Scripted(reply))  # a second request would fail
    journal = tmp_path / "journal.jsonl"
    first = synthesize_preferences([row], corrupter, journal, progress=False).rows[0]
    moved = {**row, "audio_filepath": "new.wav"}
    again = synthesize_preferences([moved], corrupter, journal, progress=False).rows[0]
    assert again == {**first, "audio_filepath": "new.wav"}
    assert (again["chosen"], again["rejected"]) == ("a woman", "a man")


def test_rules_change_exactly_one_word_and_never_differently() -> None:
    answers = ["three one four", "A man slowly says two.", "Yes", "a fast rising major melody"]
    for answer in answers:
        made = RuleCorruptions(seed=1)("What?", answer)
        old, new = answer.split(), made.rejected.split()
        assert len(old) == len(new)
        assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
        assert made == RuleCorruptions(seed=1)("What?", answer)
    assert RuleCorruptions()("?", "Yes").rejected == "No"


def test_rule_questions_cover_every_fact() -> None:
    answers = [pair.answer for pair in RuleQuestions()(CLIP)]
    assert answers == ["three one four", "Sigh", "woman"]
    rows = synthesize_questions([CLIP], RuleQuestions(), progress=False).rows
    pairs = synthesize_preferences(rows, RuleCorruptions(), progress=False)
    parsed = parse_rows(pairs.rows, PreferenceParser())
    assert all(pair.chosen != pair.rejected for pair in parsed)
    with pytest.raises(DataError, match="nothing is known"):
        RuleQuestions()(ClipFacts("c", "c.wav"))


@pytest.fixture
def server() -> Iterator[tuple[str, list[int], list[dict]]]:
    statuses: list[int] = []
    requests: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({**body, "auth": self.headers.get("Authorization")})
            status = statuses.pop(0) if statuses else 200
            self.send_response(status)
            self.end_headers()
            reply = {"choices": [{"message": {"content": "hello"}}]} if status == 200 else {}
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", statuses, requests
        httpd.shutdown()
        thread.join()


def test_an_endpoint(server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, statuses, requests = server
    monkeypatch.setenv("TEST_KEY", "secret")
    waits: list[float] = []
    generator = EndpointGenerator(url, "m", key_variable="TEST_KEY", sleep=waits.append)
    statuses += [429, 503]
    assert generator("hi") == "hello"
    assert waits == [1.0, 2.0]
    assert requests[0]["messages"] == [{"role": "user", "content": "hi"}]
    assert requests[0]["auth"] == "Bearer secret"
    statuses += [401]
    with pytest.raises(DataError, match="status 401, after 1 attempts"):
        generator("hi")
    statuses += [500] * 5
    with pytest.raises(DataError, match="status 500, after 5 attempts"):
        generator("hi")
    with pytest.raises(InvalidArgumentError, match="url"):
        EndpointGenerator("file:///etc/passwd", "m")


def test_an_endpoint_that_is_not_there() -> None:
    generator = EndpointGenerator("http://127.0.0.1:9", "m", attempts=2, sleep=lambda _: None)
    with pytest.raises(DataError, match="after 2 attempts"):
        generator("hi")
