"""Odd data files and run folders without end, from a seed: rows, bytes and files damaged.

``python tests/odd_data.py FOLDER SEED COUNT`` makes each case, gives it to what reads such data
(the ``eval`` command, or the readers of training) and prints a line of JSON about each, and one
about the whole; the tests run it in a process of its own.
"""

from __future__ import annotations

import contextlib
import csv
import faulthandler
import gzip
import io
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio.sound_files import encode

CHOICES = ("mmau", "mmsu", "mmar", "voicebench-mmsu")
BENCHMARKS = (*CHOICES, "mmau", "asr", "voicebench-advbench", "voicebench-sd-qa")
PARSERS = ("ExampleParser", "TranscriptionParser", "PreferenceParser")
FORMS = ("json", "json", "jsonl", "jsonl", "csv", "tsv", "parquet", "saved", "kaldi")
# What most readers look at, more often than at the rest.
READ = ("id", "audio", "question", "choices", "answer", "target", "chosen", "text", "category")
ROWS = 4
SECONDS = 120  # until a case counts as hanging
_DEEP = "[" * 10**5
# As JSON text, because some of these are what ``json`` would not write.
VALUES = (
    "null", "true", "0", "-1", "1.5", "NaN", "-Infinity", "1e999", "9" * 400, "9" * 5000,
    '""', '" "', r'"\u0000"', r'"a\u0000b.wav"', r'"\ud83d"', r'"\udc00 end"', r'"\ufeffa.wav"',
    r'"\u2028two\u2029three"', r'"two\nthree\r\nfour"', '"' + "x" * 10**5 + '"',
    '"' + "a/" * 5000 + '"', "[]", "[null]", "{}", '{"a": 1}', "[[]]", '[["a"], ["b"]]', "[1, 2]",
    '["a", "a"]', '["", "b"]', json.dumps([f"c{i}" for i in range(27)]), r'["\ud83d", "b"]',
    "[" * 60 + "]" * 60, "[" * 150 + "]" * 150, _DEEP + "]" * 10**5, _DEEP,
    '"' + "[" * 5000 + '"', '"' + "-" * 10**5 + '1"', f'"[{"9" * 5000}]"',
    '"' + "(" * 99 + '"', '"[1, "', '"{1}"', "undefined",
    '"B"', '"A. low"', '"音乐 🎻 $x^{$ <|mdm_mask|>"', '"<|eot_id|>"', '"|"', '"`| ```\\n# x"',
    '"/dev/zero"', '"/dev/stdin"', '"/proc/self/mem"', '"."', '"/"', '"pipe.wav"', '"zero.wav"',
    '"loop.wav"', '"nowhere.wav"', '"text.wav"', '"empty.wav"', '"DATA"', '"http://127.0.0.1/a.wav"',
    '{"bytes": "UklGRg=="}', '{"path": "pipe.wav"}', '{"array": [0.0], "sampling_rate": 1e300}',
    '{"array": "x", "sampling_rate": -1}', '{"array": [[[1]]], "sampling_rate": 16000}',
    '{"array": [null], "sampling_rate": 16000}', '{"array": [1e999], "sampling_rate": 8000}',
    '{"array": [0.5], "sampling_rate": 99999999999999999999}',
)  # fmt: skip


@dataclass
class Case:
    """Files in a folder, and what is done with them."""

    number: int
    folder: Path
    rng: random.Random
    kind: str = ""
    form: str = ""
    done: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)  # whose values were changed

    @property
    def data(self) -> Path:
        suffix = "" if self.form in ("saved", "kaldi") else f".{self.form}"
        return self.folder / f"data{suffix}"


def plain_rows() -> list[dict[str, Any]]:
    """Rows that every benchmark and parser understands."""
    choices = ["low", "high", "noise", "speech"]
    fields = ("choice_a", "choice_b", "choice_c", "choice_d")
    return [
        {
            "id": f"row-{i}", "audio": "a.wav", "question": f"Which is row {i}?",
            "choices": choices, "answer": choices[i % 4], "answer_gt": choices[i % 4],
            "task": "sound", "category": "c",
            "prompt": "Which? A. low B. high C. noise D. speech", "reference": "ABCD"[i % 4],
            "text": "one two", "input": "What?", "target": "a tone", "transcription": "one two",
            "chosen": "a tone", "rejected": "noise", "duration": 0.5, "response": "B",
            "model_prediction": "", "model_output": "A. low", "answer_prediction": "noise",
            "hypothesis": "one two",
            **dict(zip(fields, choices, strict=True)),
        }
        for i in range(ROWS)
    ]  # fmt: skip


def some_value(case: Case) -> str:
    return case.rng.choice(VALUES).replace("DATA", case.data.name)


def change_rows(case: Case) -> list[dict[str, str]]:
    """Rows whose values are JSON text, some of them odd, missing, new or those of another row."""
    rng = case.rng
    rows = [{name: json.dumps(value) for name, value in row.items()} for row in plain_rows()]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 8))):
        place = rng.randrange(ROWS)
        name = rng.choice(READ if rng.random() < 0.7 else [*plain_rows()[0]])
        change = rng.choice(("value", "value", "value", "value", "missing", "new", "twin"))
        if change == "value":
            rows[place][name] = some_value(case)
        elif change == "missing":
            rows[place].pop(name, None)
        elif change == "new":
            rows[place][rng.choice(("", "id ", "audio_id", "messages", "\0", "x" * 9999))] = (
                some_value(case)
            )
        else:
            rows[place] = dict(rows[rng.randrange(ROWS)])
        case.rows.add(place)
        case.done.append(f"{change} of {name} in row {place}")
    return rows


def as_object(row: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in row.items()) + "}"


def as_value(text: str) -> Any:
    """What a table or data set holds in place of a value in JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def write(case: Case, rows: list[dict[str, str]]) -> None:
    objects = [as_object(row) for row in rows]
    if case.form == "json":
        case.data.write_bytes(("[" + ",\n".join(objects) + "]").encode("utf-8", "surrogatepass"))
    elif case.form == "jsonl":
        case.data.write_bytes("".join(o + "\n" for o in objects).encode("utf-8", "surrogatepass"))
    elif case.form in ("csv", "tsv"):
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.writer(text, delimiter="," if case.form == "csv" else "\t")
        writer.writerow(names)
        for row in rows:
            texts = [row.get(name, "") for name in names]
            values = [as_value(text) for text in texts]
            writer.writerow(
                [v if isinstance(v, str) else t for v, t in zip(values, texts, strict=True)]
            )
        case.data.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    elif case.form == "kaldi":
        case.data.mkdir()
        for name, column in (("wav.scp", "audio"), ("text", "text"), ("utt2spk", "task")):
            lines = [f"{as_value(r.get('id', '1'))} {as_value(r.get(column, '1'))}" for r in rows]
            text = "\n".join(lines) + "\n"
            (case.data / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    else:
        write_dataset(case, rows)


def write_dataset(case: Case, rows: list[dict[str, str]]) -> None:
    """As Parquet or as ``datasets`` saves it; a column that Arrow refuses is written as text."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        texts = [row.get(name, "null") for row in rows]
        deep = "[" * 20  # for which ``datasets`` takes exponential time
        values = [text if deep in text else as_value(text) for text in texts]
        try:
            if case.form == "saved":
                datasets.Dataset.from_dict({name: values})
            else:
                table = pyarrow.table({name: values})
                pyarrow.parquet.write_table(table, pyarrow.BufferOutputStream())
        except Exception:  # whatever Arrow has against it
            values = [v if isinstance(v, str) else ascii(v) for v in values]
            values = [v.encode("utf-8", "backslashreplace").decode()[: 10**5] for v in values]
        columns[name] = values
    if case.form == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), case.data)
        return
    columns.pop("\0", None)  # no name for ``datasets``
    datasets.Dataset.from_dict(columns).save_to_disk(case.data)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 30))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def hollow(data: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + rng.choice((b"", bytes(stop - start))) + data[stop:]


def mark(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"\x1f\x8b", b"PK")) + data


def encode_anew(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    name = rng.choice(("utf-16", "utf-16-be", "utf-32", "latin-1", "gbk", "utf-7", "utf-8-sig"))
    return text.encode(name, "replace")


def pack(data: bytes, rng: random.Random) -> bytes:
    return gzip.compress(data)


def end_lines(data: bytes, rng: random.Random) -> bytes:
    end = rng.choice((b"\r", b"\r\n", b"\n\n\n", b"\xe2\x80\xa8", b"\x0b", b"\x1e", b""))
    return data.replace(b"\n", end)


def repeat(data: bytes, rng: random.Random) -> bytes:
    return data * rng.choice((2, 3))


def swap(data: bytes, rng: random.Random) -> bytes:
    pairs = ((b'"', b"'"), (b":", b"="), (b"{", b"["), (b",", b";"), (b"row-", b"\xff\xfe"))
    return data.replace(*rng.choice(pairs), rng.choice((1, 3, -1)))


def trail(data: bytes, rng: random.Random) -> bytes:
    odd = (b",", b"]", b"}", b"\0" * 99, b"// note\n", b'"', b"{}\n", b"null\n", b"[" * 10**5, b"1")
    return data + rng.choice(odd)


def noise(_: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", rng.randbytes(rng.randrange(5000)), bytes(3000), b"a\n" * 99, b"1"))


BYTES = (cut, flip, hollow, mark, encode_anew, pack, end_lines, repeat, swap, trail, noise)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.mkdir()


def link_to(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.symlink_to(path.name if target == "itself" else target)

    link.__name__ = f"link to {target}"
    return link


def nothing(path: Path) -> None:
    pass


FILES = (fifo, folder_instead, nothing, link_to("itself"), link_to("nowhere"),
         *(link_to(f"/dev/{name}") for name in ("zero", "null", "full", "stdin")))  # fmt: skip


def damage(case: Case, path: Path) -> None:
    """Change the bytes of a file, or put something else in its place."""
    rng = case.rng
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file())
        path = rng.choice(inside) if inside else path / "text"
    if rng.random() < 0.7 and path.is_file():
        changes = rng.sample(BYTES, rng.choice((1, 1, 2)))
        data = path.read_bytes()
        for change in changes:
            data = change(data, rng)
        path.write_bytes(data)
        case.done.append(f"{path.name}: {', '.join(change.__name__ for change in changes)}")
        return
    path.unlink(missing_ok=True)
    made = rng.choice(FILES)
    made(path)
    case.done.append(f"{path.name}: {made.__name__}")


def make(number: int, folder: Path) -> Case:
    """Write the files of a case."""
    rng = random.Random(number)
    case = Case(number, folder, rng)
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(encode_tone())
    (folder / "text.wav").write_text("no sound\n" * 9)
    (folder / "empty.wav").touch()
    os.mkfifo(folder / "pipe.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    (folder / "loop.wav").symlink_to("loop.wav")
    case.kind = rng.choice(("eval", "eval", "eval", "resumed", "predictions", "train", "train"))
    case.form = rng.choice(FORMS[:6] if case.kind in ("train", "predictions") else FORMS)
    rows = change_rows(case)
    write(case, rows)
    if not case.rows or rng.random() < 0.3:
        case.rows.clear()  # what a row's error may now call it is not known
        if case.kind not in ("resumed", "predictions"):
            damage(case, case.data)
    return case


def encode_tone() -> bytes:
    import numpy as np

    time = np.arange(8000) / 16000
    return encode((0.3 * np.sin(2 * np.pi * 300 * time))[:, None], "WAV", 16000)


def use(case: Case) -> tuple[str, str]:
    """Give a case to what reads it: ``result`` or ``error``, and what was said about it."""
    if case.kind == "train":
        return train(case)
    name = "asr" if case.form == "kaldi" else case.rng.choice(BENCHMARKS)
    run = case.folder / "run"
    command = ["eval", name, "--data", str(case.data), "--output", str(run), "--device", "cpu"]
    if case.form in ("saved", "kaldi"):
        command += ["--audio-root", str(case.folder)]
    if name in CHOICES and case.rng.random() < 0.4:
        command += ["--answers", "choices"]
    case.done.insert(0, " ".join([name, *command[-2:]]))
    if case.kind == "resumed":
        case.rows.clear()
        plain = Case(0, case.folder, case.rng, form=case.form)
        for path in [case.data] if case.data.exists() else []:
            remove(path)
        write(plain, [{n: json.dumps(v) for n, v in row.items()} for row in plain_rows()])
        evaluate(command)
        if run.exists():
            files = sorted(each for each in run.rglob("*") if each.is_file())
            damage(case, case.rng.choice(files) if files else run / "run.json")
    if case.kind == "predictions":
        theirs = case.folder / f"theirs{case.data.suffix}"
        case.data.rename(theirs)
        write(case, [{n: json.dumps(v) for n, v in row.items()} for row in plain_rows()])
        if not case.rows:
            damage(case, theirs)
        command += ["--predictions", str(theirs)]
    return evaluate(command)


def remove(path: Path) -> None:
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def evaluate(command: list[str]) -> tuple[str, str]:
    from dllm_audio.cli import main
    from dllm_audio.cli.exit_codes import ERROR, OK, SOME_FAILED

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(command)
        except SystemExit as stop:
            code = stop.code
    assert code in (OK, SOME_FAILED, ERROR), (code, said.getvalue())
    refused = [line for line in said.getvalue().splitlines() if line.startswith("dllm-audio: ")]
    assert len(refused) <= (code == ERROR)  # where every row failed, there is a report all the same
    return ("error" if refused else "result"), said.getvalue()


def train(case: Case) -> tuple[str, str]:
    import dllm_audio.data
    from dllm_audio.data import RecordDataset, check_audio
    from dllm_audio.errors import DllmAudioError

    name = case.rng.choice(PARSERS)
    case.done.insert(0, name)
    try:
        dataset = RecordDataset.from_file(case.data, getattr(dllm_audio.data, name)())
        dataset.validate(progress=False)
        check_audio(dataset, index=case.folder / "index.jsonl", progress=False)
    except (DllmAudioError, OSError) as error:
        return "error", f"error: {error}\n"
    return "result", ""


def fast_model() -> None:
    """One model for all cases, which decodes little."""
    from dllm_audio.cli import models
    from dllm_audio.evaluation.predictors import ModelPredictor
    from dllm_audio.samplers import preset
    from dllm_audio.toy import small_model

    made = ModelPredictor(small_model(), preset("diffa", gen_length=4, steps=1), {"model": "toy"})
    models.load_predictor = lambda arguments, default=None: made  # type: ignore[assignment]


def main() -> None:
    root, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.environ.setdefault("HF_HOME", str(root / "cache"))
    os.environ["HF_HUB_OFFLINE"] = "1"
    fast_model()
    for number in range(first, first + count):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        case = make(number, root / str(number))
        print(json.dumps({"case": number, "done": case.done}), file=sys.stderr, flush=True)
        start = time.process_time()
        outcome, said = use(case)
        record = {
            "case": number, "kind": case.kind, "form": case.form, "done": case.done,
            "rows": sorted(case.rows), "outcome": outcome, "said": said,
            "seconds": time.process_time() - start,
        }  # fmt: skip
        print(json.dumps(record), flush=True)
        faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"kibibytes": peak}))


if __name__ == "__main__":
    main()
