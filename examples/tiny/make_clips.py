"""Make clips that the quickstart answers questions about (held-out voices).

    python examples/tiny/make_clips.py --out src/dllm_audio/assets/clips

A clip that is there already is kept, with its questions: what a model is measured on must not
change with the model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile as sf

from dllm_audio.toy import Scene, SceneMaker, ask, askable, embedded_bank

# Name of the clip, what it is about, and what must be true of it.
WANTED: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("four_digits", "digits", {"noise": "clean", "sex": "woman"}),
    ("noisy_digits", "digits", {"noise": "noisy", "sex": "man"}),
    ("digits_in_rain", "digits", {"event": "rain"}),
    ("command", "command", {"noise": "clean"}),
    ("beeps", "sound", {"event": "beeping", "count": 3}),
    ("siren", "sound", {"event": "siren"}),
    ("rising_melody", "music", {"contour": "rising", "mode": "major", "tempo": "slow"}),
    ("falling_melody", "music", {"contour": "falling", "mode": "minor", "tempo": "fast"}),
    ("six_digits", "digits", {"noise": "clean", "sex": "man"}),
    ("timer", "command", {"event": "birds"}),
    ("other_speech", "other_speech", {"noise": "clean"}),
    ("silence", "silence", {}),
)
DIGITS_IN = {"six_digits": 6}  # in every other clip of digits: four
ASKED: dict[str, tuple[str, ...]] = {
    "digits": ("digits", "speaker", "rate", "noise", "event", "describe"),
    "command": ("command", "speaker", "event"),
    "other_speech": ("speaker", "unknown"),
    "silence": ("unknown",),
    "sound": ("event", "count"),
    "music": ("contour", "mode", "tempo", "describe"),
}


def find(rng: np.random.Generator, name: str, subject: str, facts: dict[str, object]) -> Scene:
    """The first scene with these facts, of the right length and with a known manner."""
    maker = SceneMaker(embedded_bank(), "heldout")
    while True:
        scene = maker.draw(rng, subject)
        if subject in ("digits", "command") and scene.rate is None:
            continue
        if subject == "digits" and len(scene.words) != DIGITS_IN.get(name, 4):
            continue
        if name == "timer" and not scene.words[0].startswith("set a timer"):
            continue
        if all(getattr(scene, fact) == value for fact, value in facts.items()):
            return scene


def make(name: str, subject: str, facts: dict[str, object], seed: int, folder: Path) -> dict:
    """Write a clip; its entry with questions."""
    rng = np.random.default_rng([seed, *name.encode()])
    scene = find(rng, name, subject, facts)
    sf.write(folder / f"{name}.ogg", scene.waveform, 16_000, "VORBIS", format="OGG")
    asked = [family for family in ASKED[subject] if family in askable(scene)]
    layouts: list[str | None] = [None] * len(asked)
    if len(asked) > 1:  # one question has choices
        layouts[-2 if asked[-1] in ("describe", "unknown") else -1] = "plain"
    records = [ask(scene, f, rng, layout=lay) for f, lay in zip(asked, layouts, strict=True)]
    questions = [{"prompt": r.prompt, "expected": r.answer, "kind": r.kind} for r in records]
    return {"file": f"{name}.ogg", "subject": subject, "questions": questions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/dllm_audio/assets/clips"))
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "questions.json"
    known = json.loads(path.read_text()) if path.exists() else []
    there = {clip["file"]: clip for clip in known}
    content = [
        there.get(f"{name}.ogg") or make(name, subject, facts, args.seed, args.out)
        for name, subject, facts in WANTED
    ]
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
