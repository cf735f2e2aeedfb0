"""Load on a server of the small model: clients that ask one question after another.

``python -m benchmarks.serving --seconds 20`` starts ``dllm-audio serve`` once for each number of
rows, lets 1, 4 and 16 clients ask it for that long, and prints a table. Every answer is compared
with that of ``model.generate`` alone. The small model's own sampler takes two passes, less than the
encoder; ``--sampler '{"gen_length": 64, "steps": 64}'`` asks for work that is mostly decoding.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dllm_audio import toy
from dllm_audio.parts import Description
from dllm_audio.samplers import from_dict

CLIENTS = (1, 4, 16)
ROWS = (1, 8)  # one at a time, and the command's default


@dataclass(frozen=True)
class Asked:
    """A request and the answer that it should get."""

    body: bytes
    answer: str


@dataclass(frozen=True)
class Load:
    """What a number of clients saw in a given time.

    Attributes:
        rows: ``--max-batch`` of the server.
        clients: that asked at once.
        seconds: from the first request to the last answer.
        answers: that came.
        lost: requests without an answer.
        wrong: answers other than those of ``generate``.
        p50: median of the seconds from request to answer.
        p95: that 95 % stayed below.
        rows_per_batch: mean of the batches that the backbone computed.
        peak_mib: largest resident memory of the server so far, in MiB; None: not known.
        cpu_seconds: of the server for each answer, whatever else runs; None: not known.
    """

    rows: int
    clients: int
    seconds: float
    answers: int
    lost: int
    wrong: int
    p50: float
    p95: float
    rows_per_batch: float
    peak_mib: float | None
    cpu_seconds: float | None

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def questions(sampler: Description | None = None) -> list[Asked]:
    """All questions about the clips that ship, as requests; None: with the model's own sampler."""
    model, found = toy.small_model(), []
    own = model.default_sampler() if sampler is None else from_dict(sampler)
    extra = {} if sampler is None else {"sampler": sampler}
    for clip in toy.clips():
        data = base64.b64encode(clip.path.read_bytes()).decode()
        sound = {"type": "input_audio", "input_audio": {"data": data, "format": "ogg"}}
        for question in clip.questions:
            text = {"type": "text", "text": question.prompt}
            body = json.dumps({"messages": [{"role": "user", "content": [sound, text]}], **extra})
            blocks = [{"type": "audio", "audio": clip.path}, text]
            messages = [[{"role": "user", "content": blocks}]]
            answer = model.generate(messages=messages, sampler=own).texts[0]
            found.append(Asked(body.encode(), answer))
    return found


@contextmanager
def server(rows: int) -> Iterator[tuple[str, int, int]]:
    """Host, port and process of a server with that many rows."""
    command = [sys.executable, "-m", "dllm_audio.cli", "serve", "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, "--max-batch", str(rows)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def measure(place: tuple[str, int, int], rows: int, clients: int, seconds: float,
            asked: Sequence[Asked]) -> Load:  # fmt: skip
    """Let clients ask for a time; each goes on as soon as it has its answer."""
    host, port, process = place
    before, begin, busy = _batches(host, port), time.perf_counter(), _cpu(process)

    def client(number: int) -> list[tuple[float, bool] | None]:
        connection = http.client.HTTPConnection(host, port)
        seen: list[tuple[float, bool] | None] = []
        for each in islice(cycle(asked), number, None):
            if seen and time.perf_counter() - begin >= seconds:
                break
            seen.append(_ask(connection, each))
        connection.close()
        return seen

    with ThreadPoolExecutor(clients) as pool:
        seen = [each for part in pool.map(client, range(clients)) for each in part]
    took, after = time.perf_counter() - begin, _batches(host, port)
    answered = [each for each in seen if each is not None]
    times = sorted(each[0] for each in answered) or [float("nan")]
    count, in_rows = (b - a for a, b in zip(before, after, strict=True))
    return Load(
        rows,
        clients,
        took,
        len(answered),
        len(seen) - len(answered),
        sum(not right for _, right in answered),
        statistics.median(times),
        times[min(int(0.95 * len(times)), len(times) - 1)],
        in_rows / max(count, 1),
        _peak(process),
        None if busy is None else ((_cpu(process) or busy) - busy) / max(len(answered), 1),
    )


def _ask(connection: http.client.HTTPConnection, asked: Asked) -> tuple[float, bool] | None:
    """Seconds, and whether the answer was right; None where there was none."""
    begin = time.perf_counter()
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", asked.body, headers)
        response = connection.getresponse()
        found: Any = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        return None
    if response.status != 200:
        return None
    text = found["choices"][0]["message"]["content"]
    return time.perf_counter() - begin, text == asked.answer


def _batches(host: str, port: int) -> tuple[float, float]:
    """Batches so far, and their rows."""
    connection = http.client.HTTPConnection(host, port)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    names = ("dllm_audio_batches_total", "dllm_audio_batch_rows_total")
    first, second = (float(values.get(name, 0)) for name in names)
    return first, second


def _peak(process: int) -> float | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _cpu(process: int) -> float | None:
    """Seconds that a process has computed so far, on all cores."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(loads: Sequence[Load]) -> str:
    """The measurements, side by side with those of one row at the same number of clients."""
    alone = {load.clients: load.per_second for load in loads if load.rows == 1}
    lines = [
        "| rows | clients | answers/s | against one at a time | p50 | p95 | rows a batch "
        "| CPU an answer | memory | lost | wrong |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for load in loads:
        gain = load.per_second / alone[load.clients] if load.clients in alone else None
        memory = "" if load.peak_mib is None else f"{load.peak_mib:.0f} MiB"
        busy = "" if load.cpu_seconds is None else f"{load.cpu_seconds:.3f} s"
        cells = [
            load.rows, load.clients, f"{load.per_second:.2f}",
            "" if gain is None else f"{gain:.2f}x", f"{load.p50:.2f} s", f"{load.p95:.2f} s",
            f"{load.rows_per_batch:.2f}", busy, memory, load.lost, load.wrong,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def run(
    seconds: float,
    clients: Sequence[int] = CLIENTS,
    rows: Sequence[int] = ROWS,
    sampler: Description | None = None,
) -> list[Load]:
    """Measure every number of clients on every number of rows."""
    asked = questions(sampler)
    loads: list[Load] = []
    with tqdm(total=len(clients) * len(rows), unit="load", disable=None) as progress:
        for number in rows:
            with server(number) as place:
                measure(place, number, 1, 0.0, asked)  # one answer, so that everything is warm
                for count in clients:
                    loads.append(measure(place, number, count, seconds, asked))
                    progress.update()
    return loads


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.serving")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load; default: 20")
    parser.add_argument(
        "--sampler", type=json.loads, metavar="JSON", help="default: the model's own"
    )
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args(argv)
    loads = run(arguments.seconds, sampler=arguments.sampler)
    print(table(loads))
    if arguments.output is not None:
        text = json.dumps([asdict(load) for load in loads], indent=2)
        arguments.output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
