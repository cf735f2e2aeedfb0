"""The benchmarks themselves: numbers that can be checked by hand, and files that are written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dllm_audio import LLaDA, condition
from dllm_audio.backbones import StaticKVCache

from . import plots
from .floor import Pass, Rates, layer_weights
from .measure import Timing, measure
from .plain import plain_decode
from .profiles import PROFILES, ProfiledPredictor, draw
from .report import Report, compare, markdown, record, terminal, write
from .run import Run
from .shapes import SHAPES, build_backbone
from .strategies import CACHES, LAYOUTS, STRATEGIES, Axes, Case, matrix, sampler

CPU = torch.device("cpu")


def test_the_60m_shape_has_60_million_parameters() -> None:
    with torch.device("meta"):
        model = LLaDA(SHAPES["60m"].backbone)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(60e6, rel=0.01)


def test_dry_run_of_the_8b_shape_on_the_meta_device() -> None:
    """Full and windowed pass of LLaDA-8B, with its cache, without memory for either."""
    shape = SHAPES["8b"]
    config = shape.backbone
    model = build_backbone(shape, torch.device("meta"), torch.bfloat16)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(8.02e9, rel=0.01)
    total = shape.prompt + shape.answer
    with torch.device("meta"):
        cache = model.new_cache(32, total)
        positions = torch.arange(total).expand(32, -1)
        block = torch.arange(shape.prompt, shape.prompt + shape.block)
        full = model.hidden(
            model.embed(torch.zeros(32, total, dtype=torch.long)),
            position_ids=positions,
            cache=cache,
            output_positions=block.expand(32, -1),
        )
        step = model.hidden(
            model.embed(torch.zeros(32, shape.block, dtype=torch.long)),
            position_ids=positions[:, : shape.block],
            cache=cache,
            slots=block,
        )
        assert model.head(step).shape == (32, shape.block, config.vocab_size)
    assert full.shape == step.shape == (32, shape.block, config.d_model)
    # 16 GB of weights, 0.35 GB of cache a row: batch 32 fits into 40 GB and more.
    assert StaticKVCache.nbytes(config, 1, total, torch.bfloat16) == 2 * 32 * total * 4096 * 2


def test_floor_of_the_8b_shape() -> None:
    """Hand-derived for an H200 (copy 4.3 TB/s, matrix product 790 TFLOP/s)."""
    config = SHAPES["8b"].backbone
    rates = Rates(4.3e12, 790e12, torch.bfloat16)
    assert layer_weights(config) == 4 * 4096**2 + 3 * 4096 * 12288
    step = Pass(1, 32, 668, 32).work(config, torch.bfloat16)
    weights = 2 * (32 * layer_weights(config) + 4096 * 126464)
    assert step.bytes == weights + 2 * 2 * 32 * (668 - 32) * 4096
    assert step.seconds(rates) == pytest.approx(3.6e-3, rel=0.05)  # reading the weights once
    full = Pass(1, 560, 560, 32).work(config, torch.bfloat16)
    assert full.flops == pytest.approx(8.4e12, rel=0.1)
    assert full.seconds(rates) == full.flops / rates.flops


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_has_its_fraction_of_sure_tokens(run: Run, name: str) -> None:
    config = run.shape.backbone
    length, batch = 50, 3
    tokens, logits = draw(PROFILES[name], config, batch, length, run.device)
    ids, _, _ = run.prompt(batch, 10)
    predictor = ProfiledPredictor(condition(run.backbone, ids), tokens, logits)
    x = torch.full((batch, length), config.mask_token_id, device=run.device)
    with torch.inference_mode():
        probabilities = predictor(x).float().softmax(-1)
    best = probabilities.max(-1)
    assert torch.equal(best.indices, tokens)
    sure = (best.values >= 0.9).float().mean(-1).cpu()
    torch.testing.assert_close(sure, torch.full((batch,), PROFILES[name].sure), atol=0.011, rtol=0)
    with torch.inference_mode():  # the same rows and positions when only some are asked for
        some = predictor(x, torch.tensor([[4, 2]] * batch, device=run.device)).float().softmax(-1)
        row = predictor.select(torch.tensor([2], device=run.device))(x[2:]).float().softmax(-1)
    torch.testing.assert_close(some, probabilities[:, [4, 2]], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(row, probabilities[2:], atol=1e-4, rtol=1e-3)


def test_the_plain_loop_decodes_what_the_library_decodes() -> None:
    shape = SHAPES["tiny"]
    model = build_backbone(shape, CPU, torch.float64)  # ties do not matter in float64
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(shape.backbone.vocab_size - 2, (1, 9), generator=generator)
    audio = torch.zeros(1, 0, shape.backbone.d_model, dtype=torch.float64)
    plain = plain_decode(model, ids, audio, 4, steps=8, gen_length=8, block_length=4)
    ours = sampler(Case("block/fixed", 1, 9, 8, 4))(condition(model, ids))
    assert torch.equal(plain, ours.tokens)


def test_the_matrix_covers_every_strategy_and_axis() -> None:
    shape = SHAPES["tiny"]
    axes = Axes(batches=(1, 2), prompts=(9,), answers=(3,))
    cases = matrix(shape, axes)
    rules = ("factor", "local_leap", "entropy")
    layouts = ("low_confidence", "block", "kept_prompt", "exact")
    costly = {f"{layout}/{rule}" for layout in layouts for rule in rules}
    assert {c.strategy for c in cases} == set(STRATEGIES) - costly
    assert {c.batch for c in cases} == {1, 2}
    assert {c.prompt for c in cases} == {9, shape.prompt}
    assert {c.answer for c in cases} == {3, shape.answer}
    assert len({c.label for c in cases}) == len(cases)
    full = matrix(shape, replace(axes, full=True))
    assert len(full) == 2 * (len(LAYOUTS) + 2 * (len(STRATEGIES) - len(LAYOUTS)))
    packed = matrix(shape, replace(axes, mode="packed"))
    assert len({c.label for c in packed}) == len(packed) == len(cases) - 1 + len(CACHES)
    assert {c.mode for c in packed if c.profile} == {"packed"}
    graphed = matrix(shape, replace(axes, extra_modes=("graphed",)))
    assert [c.mode for c in graphed if c not in cases] == ["graphed", "graphed"]
    assert {c.strategy for c in matrix(shape, axes, ["dual/threshold"])} == {"dual/threshold"}
    assert {c.layout for c in matrix(shape, axes, ["prefix"])} == {"prefix"}


def test_threshold_under_a_profile_commits_the_sure_tokens_at_once(run: Run) -> None:
    case = Case("dual/threshold", 1, 10, 20, 20, "asr")
    ids, _, _ = run.prompt(1, case.prompt)
    drawn = draw(PROFILES["asr"], run.shape.backbone, 1, case.answer, run.device)
    output = sampler(case)(ProfiledPredictor(condition(run.backbone, ids), *drawn))
    assert output.nfe == 2  # 19 of 20 at the first pass, the last one at the second


def test_timing() -> None:
    calls = []
    timing = measure(lambda: calls.append(1), CPU, repeats=5)
    assert len(calls) == 6  # one to warm up
    assert len(timing.seconds) == 5
    assert Timing([3.0, 1.0, 2.0]).median == 2.0


@pytest.fixture
def report(run: Run) -> Report:
    facts = {"hardware": "Some CPU (R) 2", "device": "cpu", "dtype": "float32"}
    facts |= {"model_size": "tiny", "date": "2026-01-02"}
    made = Report("decoding-tiny", facts, {"copy_bytes_per_second": 1e9})
    settings = {"batch": 1, "prompt": 24, "answer": 8, "tokens": 8, "mode": "eager"}
    fixed = {"nfe": 8, "tokens_per_second": 8.0, "floor_seconds": 0.25}
    ones = [
        ("plain b1", "one token a step", "plain", None),
        ("dual/fixed b1", "one token a step", "dual/fixed", None),
        ("autoregressive/static b1", "autoregressive peer", "autoregressive/static", None),
        ("dual/threshold b1", "rules, asr", "dual/threshold", "asr"),
        ("dual/threshold b1 r", "rules, reasoning", "dual/threshold", "reasoning"),
        ("dual/threshold b8", "batch", "dual/threshold", "asr"),
    ]
    for i, (name, group, strategy, profile) in enumerate(ones):
        timing = Timing([1.0 / (i + 1), 1.1 / (i + 1), 1.2 / (i + 1)])
        extra = {"strategy": strategy, "profile": profile, "batch": 8 if "b8" in name else 1}
        made.records.append(record(name, group, timing, settings | extra, **fixed))
    return made


def test_results_are_written_and_read_back(report: Report, tmp_path: Path) -> None:
    data, page = write(report, tmp_path)
    assert data.name == "decoding-tiny-some-cpu-r-2-2026-01-02.json"
    content = json.loads(data.read_text())
    assert content["records"][1]["median"] == pytest.approx(0.55)
    assert content["records"][1]["seconds"] == pytest.approx([0.5, 0.55, 0.6])
    assert content["records"][1]["spread"] == pytest.approx(0.1 / 0.55)
    assert Report.load(data) == report
    assert page.read_text() == markdown(report)
    row = next(line for line in markdown(report).splitlines() if line.startswith("| dual/fixed"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # time, spread, tokens/s, passes, ms a pass, floor, times the floor, times faster than plain
    assert cells[1:] == ["550.00 ms", "18 %", "8.0", "8", "68.8", "250.00 ms", "2.20", "2.0"]
    assert len(terminal(report)) > len(report.records)


def test_pictures_are_drawn(report: Report, tmp_path: Path) -> None:
    paths = plots.draw(report, tmp_path)
    assert [p.name.rpartition("-")[2] for p in paths] == [
        "steps.png",
        "batch.png",
        "strategies.png",
    ]
    assert all(p.stat().st_size > 5000 for p in paths)


def test_no_picture_of_what_was_not_measured(report: Report, tmp_path: Path) -> None:
    other = record("full pass", "parts", Timing([1.0]), {"batch": 1}, nfe=1, floor_seconds=0.5)
    assert plots.draw(replace(report, theme="parts-tiny", records=[other]), tmp_path) == []
    one_profile = [r for r in report.records if r.settings["profile"] != "reasoning"]
    assert len(plots.draw(replace(report, records=one_profile), tmp_path)) == 3


def test_comparison_finds_what_got_slower(report: Report) -> None:
    old = replace(report, records=[replace(r) for r in report.records])
    old.records[1] = replace(old.records[1], seconds=[0.3, 0.3, 0.3])
    lines, slower = compare(report, old, tolerance=1.25)
    assert len(lines) == len(report.records)
    assert slower == ["dual/fixed b1"]
    assert "x1.83" in lines[1]
    assert compare(report, old, tolerance=2.0)[1] == []


def test_comparison_refuses_other_hardware_settings(report: Report) -> None:
    other = replace(report, environment=report.environment | {"dtype": "bfloat16"})
    with pytest.raises(ValueError, match="dtype: the earlier run has bfloat16"):
        compare(report, other, 1.25)
    with pytest.raises(ValueError, match="no record in common"):
        compare(report, replace(report, records=[]), 1.25)


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a benchmark report"):
        Report.load(path)
