"""Three pictures of a decoding report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .report import Record, Report

LAYOUT_COLORS = {
    "plain": "#8c8c8c",
    "low_confidence": "#c9a227",
    "block": "#d97742",
    "prefix": "#4c8c6b",
    "dual": "#2f6fa7",
    "kept_prompt": "#1f9fb5",
    "exact": "#b5466f",
    "autoregressive": "#7a5aa6",
}
_BATCHED = ("dual/threshold", "kept_prompt/threshold", "exact/threshold", "prefix/threshold",
            "autoregressive/static", "autoregressive/packed")  # fmt: skip
_PEER = "autoregressive"


def _color(name: str) -> str:
    return LAYOUT_COLORS.get(name.partition("/")[0].partition(" ")[0], "#444444")


def _short(r: Record, usual: str) -> str:
    """The strategy in words, with its mode unless that is the usual one."""
    mode = r.settings.get("mode", usual)
    name = str(r.settings["strategy"]).replace("kept_prompt", "dual, prompt once")
    return name + (f", {mode}" if mode != usual else "")


def _usual_mode(report: Report) -> str:
    """The mode of most records."""
    modes = Counter(r.settings["mode"] for r in report.records if "mode" in r.settings)
    return modes.most_common(1)[0][0] if modes else "eager"


_TITLES = {
    "eager": "",
    "packed": ", packed weights",
    "graphed": ", CUDA graphs",
    "compiled": ", compiled",
}


def _peers(report: Report) -> dict[str, float]:
    """Tokens per second of the autoregressive model at batch 1, by how it ran."""
    return {
        r.settings["strategy"].partition("/")[2]: r.numbers["tokens_per_second"]
        for r in report.records
        if r.settings.get("strategy", "").startswith(_PEER) and r.settings["batch"] == 1
    }


def draw(report: Report, folder: Path) -> list[Path]:
    """Write the pictures that the records allow; returns their paths."""
    import matplotlib

    matplotlib.use("Agg")
    return [
        path
        for path in (
            _steps(report, folder / f"{report.stem}-steps.png"),
            _batches(report, folder / f"{report.stem}-batch.png"),
            _strategies(report, folder / f"{report.stem}-strategies.png"),
        )
        if path is not None
    ]


def save(figure, report: Report, title: str, path: Path) -> Path:
    """Write and close a figure, under its title and what was measured where and when."""
    import matplotlib.pyplot as plt

    facts = report.environment
    source = f"{facts['hardware']}, {facts['dtype']}, {facts['model_size']}, {facts['date']}"
    figure.suptitle(f"{title}\n{source}", size=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _steps(report: Report, path: Path) -> Path | None:
    """Time per forward pass against the floor, at one token a step."""
    import matplotlib.pyplot as plt

    chosen = [
        r
        for r in report.records
        if "floor_seconds" in r.numbers and r.settings.get("profile", "") is None
    ]
    if not chosen:
        return None
    figure, axes = plt.subplots(figsize=(7.5, 0.5 * len(chosen) + 1.6), layout="constrained")
    for i, r in enumerate(reversed(chosen)):
        passes = r.numbers["nfe"]
        measured, floor = 1e3 * r.median / passes, 1e3 * r.numbers["floor_seconds"] / passes
        axes.barh(i, measured, color=_color(r.name), height=0.6)
        axes.plot([floor, floor], [i - 0.38, i + 0.38], color="black", lw=2)
        axes.text(
            max(measured, floor),
            i,
            f"  {measured:.3g} ms, {measured / floor:.2f} x floor",
            va="center",
            size=8,
        )
    names = [_short(r, "eager") for r in chosen]
    axes.set_yticks(range(len(chosen)), names[::-1])
    axes.set(xlabel="ms per forward pass (black: the floor)")
    axes.set_xlim(right=axes.get_xlim()[1] * 1.3)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, report, "Time per step against the floor, one token a step", path)


def _batches(report: Report, path: Path) -> Path | None:
    """Tokens per second against the batch."""
    import matplotlib.pyplot as plt

    usual = _usual_mode(report)
    chosen = [
        r
        for r in report.records
        if r.settings.get("strategy") in _BATCHED
        and r.group != "lengths"
        and r.settings.get("profile") != "reasoning"
        and r.settings.get("mode", usual) == usual
    ]
    if len({r.settings["batch"] for r in chosen}) < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for strategy in dict.fromkeys(r.settings["strategy"] for r in chosen):
        rows = [r for r in chosen if r.settings["strategy"] == strategy]
        points = sorted((r.settings["batch"], r.numbers["tokens_per_second"]) for r in rows)
        style = "--" if strategy == f"{_PEER}/packed" else "-"
        label = f"{_short(rows[0], usual)}: {', '.join(f'{rate:.0f}' for _, rate in points)}"
        color = _color(strategy)
        axes.plot(*zip(*points, strict=True), style, marker="o", color=color, label=label)
    batches = sorted({r.settings["batch"] for r in chosen})
    axes.set(xlabel="batch", ylabel="tokens per second", xscale="log")
    axes.set_ylim(bottom=0)
    axes.set_xticks(batches, [str(b) for b in batches], minor=False)
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    title = f"Throughput against batch (simulated ASR confidences{_TITLES.get(usual, '')})"
    return save(figure, report, title, path)


def _strategies(report: Report, path: Path) -> Path | None:
    """Tokens per second by strategy, both profiles, batch 1."""
    import matplotlib.pyplot as plt

    chosen = {
        profile: [r for r in report.records if r.group == f"rules, {profile}"]
        for profile in ("asr", "reasoning")
    }
    chosen = {profile: records for profile, records in chosen.items() if records}
    if not chosen:
        return None
    peers, usual = _peers(report), _usual_mode(report)
    figure, panels = plt.subplots(
        1, len(chosen), figsize=(5 * len(chosen), 5), layout="constrained", sharex=True,
        squeeze=False,
    )  # fmt: skip
    for axes, (profile, records) in zip(panels[0], chosen.items(), strict=True):
        bars = records[::-1]
        values = [r.numbers["tokens_per_second"] for r in bars]
        axes.barh([_short(r, usual) for r in bars], values, color=[_color(r.name) for r in bars])
        for i, value in enumerate(values):
            text = axes.annotate(
                f"{value:.0f}", (value, i), (4, 0), textcoords="offset points", va="center", size=8
            )
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        if peers:
            mode, rate = max(peers.items(), key=lambda peer: peer[1])
            color = LAYOUT_COLORS[_PEER]
            label = f"{_PEER} ({mode}): {rate:.0f}"
            axes.axvline(rate, color=color, ls="--", lw=1.2, label=label)
            axes.legend(frameon=False, fontsize=8, loc="upper right")
        axes.set_title(f"simulated confidences: {profile}", size=9)
        axes.set_xlabel("tokens per second")
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    title = f"Throughput by strategy, batch 1{_TITLES[usual]}"
    return save(figure, report, title, path)
