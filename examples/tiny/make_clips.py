"""Rebuild the clips that the quickstart answers questions about (held-out voices).

python examples/tiny/make_clips.py --out src/dllm_audio/assets/clips
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile as sf

from dllm_audio.toy import FAMILIES, Scene, SceneMaker, ask, askable, embedded_bank

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
)
ASKED: dict[str, tuple[str, ...]] = {
    "digits": ("digits", "speaker", "rate", "noise", "event", "describe"),
    "command": ("command", "speaker"),
    "sound": ("event", "count"),
    "music": ("contour", "mode", "tempo", "describe"),
}


def find(rng: np.random.Generator, subject: str, facts: dict[str, object]) -> Scene:
    """The first scene with these facts; digit clips have four digits and known manner."""
    maker = SceneMaker(embedded_bank(), "heldout")
    while True:
        scene = maker.draw(rng, subject)
        spoken = subject in ("digits", "command")
        if spoken and (scene.rate is None or (subject == "digits" and len(scene.words) != 4)):
            continue
        if all(getattr(scene, name) == value for name, value in facts.items()):
            return scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/dllm_audio/assets/clips"))
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng, content = np.random.default_rng(args.seed), []
    for name, subject, facts in WANTED:
        scene = find(rng, subject, facts)
        sf.write(args.out / f"{name}.ogg", scene.waveform, 16_000, "VORBIS", format="OGG")
        asked = [f for f in FAMILIES if f in ASKED[subject] and f in askable(scene)]
        layouts: list[str | None] = [None] * len(asked)
        layouts[-2 if asked[-1] == "describe" else -1] = "plain"  # one question has choices
        records = [ask(scene, f, rng, layout=lay) for f, lay in zip(asked, layouts, strict=True)]
        questions = [{"prompt": r.prompt, "expected": r.answer, "kind": r.kind} for r in records]
        content.append({"file": f"{name}.ogg", "subject": subject, "questions": questions})
    (args.out / "questions.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
