"""A run answers every row once, whatever happens to it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers import FakePredictor, run_in_child, tone_rows, tone_task

from dllm_audio.errors import DataError, InvalidArgumentError, ShapeError
from dllm_audio.evaluation import runner
from dllm_audio.evaluation.benchmarks import MMAU
from dllm_audio.evaluation.predictors import Predictions
from dllm_audio.evaluation.questions import make_task
from dllm_audio.evaluation.report import finish_run
from dllm_audio.evaluation.run_info import read_run, start_run
from dllm_audio.evaluation.runner import run_task
from dllm_audio.evaluation.scoring import Tally
from dllm_audio.evaluation.sources import rows_source
from dllm_audio.evaluation.store import Shard, Timing, merge_shards, read_records, shard_results


def run(folder: Path, task=None, predictor=None, **options):
    task, predictor = task or tone_task(), predictor or FakePredictor()
    run_task(task, predictor, folder, progress=False, **options)
    return predictor


def test_every_row_is_answered_once_in_order(tmp_path: Path) -> None:
    task = tone_task(7)
    predictor = run(tmp_path, task, batch_size=3)
    records, _ = merge_shards(task, tmp_path)
    assert predictor.batches == [3, 3, 1]
    assert [r.id for r in records] == [item.id for item in task.items]
    assert records[4].prediction == "B. high tone"
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[4]) == {
        "id": "row-4", "prediction": "B. high tone", "error": None, "nfe": 4, "tokens": 16,
        "audio_seconds": 0.01, "cut_seconds": 0.0, "probabilities": None,
    }  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_result_does_not_depend_on_the_batch_size(tmp_path: Path, batch_size: int) -> None:
    run(tmp_path / "a", batch_size=batch_size)
    run(tmp_path / "b", batch_size=4)
    merge_shards(tone_task(), tmp_path / "a")
    merge_shards(tone_task(), tmp_path / "b")
    a, b = ((tmp_path / x / "results.jsonl").read_bytes() for x in "ab")
    assert a == b


def test_a_finished_run_computes_nothing_again(tmp_path: Path) -> None:
    run(tmp_path)
    assert run(tmp_path).batches == []


def test_shards_share_the_rows_and_merge_to_the_same_file(tmp_path: Path) -> None:
    task = tone_task(11)
    sizes = [
        sum(run(tmp_path / "many", task, batch_size=2, shard=Shard(r, 3)).batches)
        for r in (2, 0, 1)
    ]
    assert sorted(sizes) == [3, 4, 4]
    run(tmp_path / "one", task)
    merge_shards(task, tmp_path / "many")
    merge_shards(task, tmp_path / "one")
    many, one = ((tmp_path / x / "results.jsonl").read_bytes() for x in ("many", "one"))
    assert many == one


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    task = tone_task(10)
    run(tmp_path, task, shard=Shard(1, 2))
    with pytest.raises(DataError, match="5 of 10 rows have no result yet"):
        merge_shards(task, tmp_path)
    assert sum(run(tmp_path, task).batches) == 5
    assert len(merge_shards(task, tmp_path)[0]) == 10


def test_the_process_pool_members_are_checked() -> None:
    with pytest.raises(InvalidArgumentError, match="rank"):
        Shard(2, 2)
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        run(Path("unused"), batch_size=0)


def test_unreadable_audio_is_a_record_with_a_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    rows = tone_rows(5)
    (tmp_path / "text.wav").write_text("no sound")
    rows[1]["audio"] = str(tmp_path / "missing.wav")
    rows[2]["audio"] = str(tmp_path / "text.wav")
    rows[3]["audio"] = {"array": torch.full((9,), torch.nan).numpy(), "sampling_rate": 16000}
    del rows[4]["audio"]
    task = make_task(MMAU, rows_source(rows, "damaged"))
    run(tmp_path / "out", task, batch_size=5)
    report = finish_run(task, tmp_path / "out")
    assert len(report.failures) == 4
    for failure in report.failures:
        assert "\n" not in failure.error
        assert failure.error.split(":")[0].endswith("Error")
    assert report.scores.modes["official"].overall == Tally(correct=1, valid=1, total=5)


def test_a_refused_batch_is_answered_row_by_row(tmp_path: Path) -> None:
    class Picky(FakePredictor):
        def __call__(self, audio, prompts, seeds):
            if any("row 3?" in p for p in prompts):
                raise ShapeError("audio", "less", "more\nthan that")
            return super().__call__(audio, prompts, seeds)

    task, predictor = tone_task(6), Picky()
    run(tmp_path, task, predictor, batch_size=3)
    records, _ = merge_shards(task, tmp_path)
    assert [r.prediction is None for r in records] == [i == 3 for i in range(6)]
    assert records[3].error == "ShapeError: audio: expected less, got more than that"
    assert predictor.batches == [3, 1, 1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_a_row_that_memory_does_not_suffice_for_is_a_failure(tmp_path: Path, error) -> None:
    class Hungry(FakePredictor):
        def __call__(self, audio, prompts, seeds):
            if any("row 3?" in p for p in prompts):
                raise error
            return super().__call__(audio, prompts, seeds)

    task = tone_task(6)
    run(tmp_path, task, Hungry(), batch_size=3)
    failed = finish_run(task, tmp_path).failures
    assert [failure.id for failure in failed] == ["row-3"]
    assert failed[0].error.startswith(f"{type(error).__name__}:")
    assert run(tmp_path, task, Hungry(), batch_size=3).batches == []


def test_audio_that_memory_does_not_suffice_for_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    task, load = tone_task(3), runner.load_audio

    def loading(source):
        if source[0] is task.source.rows[1]["audio"]["array"]:
            raise MemoryError
        return load(source)

    monkeypatch.setattr(runner, "load_audio", loading)
    run(tmp_path, task)
    assert [failure.id for failure in finish_run(task, tmp_path).failures] == ["row-1"]


@pytest.mark.filterwarnings("ignore:.*damaged, and left out")
def test_a_row_whose_line_was_damaged_is_answered_again(tmp_path: Path) -> None:
    task = tone_task(5)
    run(tmp_path / "calm", task)
    merge_shards(task, tmp_path / "calm")
    run(tmp_path / "hurt", task)
    for name in ("results", "timings"):
        path = Shard().path(tmp_path / "hurt", name)
        lines = path.read_bytes().splitlines(keepends=True)
        lines[1] = lines[1][:9] + b"\x00\xff" + lines[1][11:]
        path.write_bytes(b"".join(lines))
    with pytest.warns(UserWarning, match=r"results-00000-of-00001\.jsonl, line 2: damaged"):
        assert len(shard_results(tmp_path / "hurt")) == 4
    assert run(tmp_path / "hurt", task).batches == [1]
    finish_run(task, tmp_path / "hurt")
    calm, hurt = ((tmp_path / x / "results.jsonl").read_bytes() for x in ("calm", "hurt"))
    assert calm == hurt


def test_a_lost_time_does_not_keep_a_run_from_its_report(tmp_path: Path) -> None:
    task = tone_task(3)
    run(tmp_path, task)
    path = Shard().path(tmp_path, "timings")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert finish_run(task, tmp_path).speed.audio_seconds == pytest.approx(0.02)


@pytest.mark.parametrize("bug", [ZeroDivisionError(), RuntimeError("shapes do not fit")])
def test_a_bug_in_the_predictor_ends_the_run_and_keeps_what_was_done(tmp_path: Path, bug) -> None:
    class Buggy(FakePredictor):
        def __call__(self, audio, prompts, seeds):
            if "row 2?" in prompts[0]:
                raise bug
            return super().__call__(audio, prompts, seeds)

    with pytest.raises(type(bug)):
        run(tmp_path, tone_task(6), Buggy())
    assert len(shard_results(tmp_path)) == 2
    assert sum(run(tmp_path, tone_task(6)).batches) == 4


def test_audio_beyond_the_window_is_cut_and_counted(tmp_path: Path) -> None:
    rows = tone_rows(2)
    rows[1]["audio"] = {"array": torch.zeros(24000).numpy(), "sampling_rate": 16000}
    task = make_task(MMAU, rows_source(rows, "long"))
    heard = []

    class Listening(FakePredictor):
        def __call__(self, audio, prompts, seeds):
            heard.extend(len(a) for a in audio)
            return super().__call__(audio, prompts, seeds)

    run(tmp_path, task, Listening(max_seconds=1.0))
    assert heard == [160, 16000]
    report = finish_run(task, tmp_path)
    assert report.speed.rows_cut_to_window == 1
    assert report.speed.seconds_cut == 0.5


def test_speed_counts_compute_and_audio_seconds_of_answered_rows(tmp_path: Path) -> None:
    task = tone_task(4)
    run(tmp_path, task, FakePredictor(delay=0.02), batch_size=2)
    speed = finish_run(task, tmp_path).speed
    times = [t.seconds for t in read_records(tmp_path / "timings.jsonl", Timing)]
    assert speed.audio_seconds == pytest.approx(0.04)
    assert speed.compute_seconds == pytest.approx(sum(times))
    assert sum(times) >= 0.04
    assert speed.rtf == pytest.approx(sum(times) / 0.04)
    assert speed.nfe_mean == pytest.approx(4.5)
    assert speed.tokens_per_forward == pytest.approx((16 / 4 + 16 / 5) / 2)


def test_a_row_draws_the_same_numbers_in_any_batch_and_others_under_another_seed(tmp_path) -> None:
    class Sampling(FakePredictor):
        def __call__(self, audio, prompts, seeds):
            return Predictions([str(s) for s in seeds], [1] * len(seeds), [1] * len(seeds))

    task, texts = tone_task(6), []
    for name, options in (("a", {"batch_size": 4}), ("b", {}), ("c", {"seed": 1})):
        run(tmp_path / name, task, Sampling(), **options)
        texts.append([r.prediction for r in merge_shards(task, tmp_path / name)[0]])
    assert texts[0] == texts[1]
    assert len({*texts[0], *texts[2]}) == 12


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    task = tone_task(3)
    start_run(task, {"model": "a", "steps": 4}, tmp_path)
    start_run(task, {"model": "a", "steps": 4}, tmp_path)
    with pytest.raises(DataError, match=r"model\.steps was 4, is 16"):
        start_run(task, {"model": "a", "steps": 16}, tmp_path)
    with pytest.raises(DataError, match=r"task\.rows was 3, is 2"):
        start_run(tone_task(2), {"model": "a", "steps": 4}, tmp_path)
    with pytest.raises(DataError, match=r"task\.choice_seed was None, is 1"):
        start_run(tone_task(3, choice_seed=1), {"model": "a", "steps": 4}, tmp_path)
    known = read_run(tmp_path)
    assert known is not None
    assert len(known.starts) == 2
    assert {"torch", "dllm-audio"} <= set(known.starts[0].versions)


@pytest.mark.parametrize(
    "damage",
    [
        {"settings": {}},
        {"settings": {"task": 3, "model": {}}},
        {"settings": {"task": {"rows": 1}, "model": {}}},
        {"starts": 5},
        {"starts": [{"time": "now"}]},
        {"prompt_of_first_row": 3},
    ],
)
def test_a_damaged_run_record_is_named(tmp_path: Path, damage: dict) -> None:
    start_run(tone_task(2), {"model": "a"}, tmp_path)
    run = json.loads((tmp_path / "run.json").read_text()) | damage
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=r"run\.json: expected the record of a run"):
        start_run(tone_task(2), {"model": "a"}, tmp_path)


@pytest.mark.slow
def test_killed_at_ten_random_moments_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    count, batch_size, kills = 300, 4, 10
    task = tone_task(count)
    run(tmp_path / "calm", task)
    merge_shards(task, tmp_path / "calm")

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers", "dllm_audio.evaluation.run_info"])
    folder, log = tmp_path / "killed", tmp_path / "calls"
    arguments = (str(folder), str(log), count, batch_size)
    rng, survived = random.Random(os.urandom(8)), []
    for _ in range(kills):
        child = context.Process(target=run_in_child, args=(*arguments, 6))
        child.start()
        before = len(shard_results(folder))
        # Wait for the child to get going, then let it live for a random moment more.
        while child.is_alive() and len(shard_results(folder)) == before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        done = {r.id for r in shard_results(folder)}
        assert set(survived) <= done
        survived = sorted(done)
    assert 0 < len(survived) < count
    last = context.Process(target=run_in_child, args=(*arguments, None))
    last.start()
    last.join()
    assert last.exitcode == 0
    merge_shards(task, folder)
    calm, killed = ((tmp_path / x / "results.jsonl").read_bytes() for x in ("calm", "killed"))
    assert calm == killed
    calls = [int(line) for line in log.read_text().split()]
    assert set(calls) == set(range(count))
    # Only what was being computed at the moment of a kill may be computed again.
    assert len(calls) <= count + kills * batch_size
