"""The adapters learn to connect the frozen encoder with the language model, in two stages.

First by naming alone (``naming.py``), which is quick because the language model is not run; then by
the answers too, while the language model learns along at half the rate.  With ``--semantic-only``
the same is done with the semantic adapter alone: the ablation that shows what the acoustic adapter
is for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from asking import Answering
from clips import Clips
from described import draw_layout
from fitting import Schedule, fit
from make_tokenizer import make_tokenizer
from naming import Naming
from numpy.random import Generator
from settings import RESPONSE_LENGTH, build_adapter, build_encoder
from standardizing import Standard, parts_of
from torch import Tensor
from train_lm import load_lm, new_lm

from dllm_audio import AudioDiffusionLM, AudioEmbeddings, CachedParallelSampler, Threshold
from dllm_audio.toy import Scene, ToyRecord, ask, askable

SAMPLER = CachedParallelSampler(RESPONSE_LENGTH, RESPONSE_LENGTH, Threshold(0.9))
QUESTIONS_PER_CLIP = 2
CLIPS_PER_STEP = {"naming": 24, "joint": 16}
NAMING_WEIGHT = 0.7
# Sequences need many looks, and so do facts that only some clips have.
FAMILY_WEIGHTS = {
    "digits": 4.0,
    "position": 1.5,
    "contains": 2.5,
    "command": 3.0,
    "number": 3.0,
    "word": 3.0,
    "speaker": 2.0,
    "rate": 2.0,
    "noise": 2.0,
    "event": 2.0,
    "count": 4.0,
    "contour": 1.0,
    "mode": 1.5,
    "tempo": 1.0,
    "describe": 4.0,
    "unknown": 2.0,
}


def ask_about(scene: Scene, layout: str | None, rng: Generator) -> list[ToyRecord]:
    """Some questions about one clip, rather the hard ones."""
    families = askable(scene)
    share = np.array([FAMILY_WEIGHTS[family] for family in families])
    if scene.subject in ("sound", "music"):  # "What is said?" there is asked now and then
        share[families.index("unknown")] = 0.5
    chosen = rng.choice(families, QUESTIONS_PER_CLIP, p=share / share.sum())
    return [ask(scene, str(family), rng, layout=layout) for family in chosen]


class Lessons:
    """What the adapters of a model learn from clips.

    Args:
        model: in training.
        clips: that it hears.
        standard: of their states.
        acoustic: whether it has an acoustic adapter.
    """

    def __init__(
        self, model: AudioDiffusionLM, clips: Clips, standard: Standard, *, acoustic: bool
    ) -> None:
        self._model, self._clips, self._standard = model, clips, standard
        self._answering = Answering(model.backbone, model.tokenizer)
        self._naming = Naming(model.backbone, model.tokenizer, acoustic=acoustic)
        # A clip that nothing can be asked about (its facts are in doubt) is never heard.
        self._usable = torch.tensor([i for i, scene in enumerate(clips.scenes) if askable(scene)])

    def naming(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step by naming alone."""
        rows = self._rows("naming", step)
        facts, words = self._names(self._hear(rows), rows)
        return facts + words, {"facts": facts.item(), "words": words.item()}

    def joint(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step by answers and naming."""
        rng = np.random.default_rng([2, step])
        rows = self._rows("joint", step)
        layout = draw_layout(rng)
        records = [r for row in rows for r in ask_about(self._clips.scenes[row], layout, rng)]
        heard = self._hear(rows)
        audio = AudioEmbeddings(
            heard.embeds.repeat_interleave(QUESTIONS_PER_CLIP, 0),
            heard.lengths.repeat_interleave(QUESTIONS_PER_CLIP, 0),
        )
        with torch.autocast("cpu", torch.bfloat16):
            answers = self._answering(audio, records, torch.Generator().manual_seed(step))
        facts, words = self._names(heard, rows)
        shown = {"answers": answers.item(), "facts": facts.item(), "words": words.item()}
        return answers + NAMING_WEIGHT * (facts + words), shown

    def _rows(self, stage: str, step: int) -> list[int]:
        size = CLIPS_PER_STEP[stage]
        epoch, place = divmod(step, len(self._usable) // size)
        seed = 1000 * (1 + list(CLIPS_PER_STEP).index(stage)) + epoch
        order = torch.randperm(len(self._usable), generator=torch.Generator().manual_seed(seed))
        return self._usable[order[place * size :][:size]].tolist()

    def _hear(self, rows: list[int]) -> AudioEmbeddings:
        with torch.autocast("cpu", torch.bfloat16):
            return self._model.adapter(self._standard(self._clips.states(rows)))

    def _names(self, heard: AudioEmbeddings, rows: list[int]) -> tuple[Tensor, Tensor]:
        scenes = [self._clips.scenes[row] for row in rows]
        return self._naming(heard, scenes, [self._clips.loudness[row] for row in rows])


def train_adapters(
    clips: Clips, folder: Path, whisper: str, steps: dict[str, int], *, acoustic: bool = True
) -> AudioDiffusionLM:
    """Train from nothing, or go on from ``folder``; 0 joint steps: by naming alone."""
    tokenizer, encoder = make_tokenizer(folder / "tokenizer"), build_encoder(whisper)
    lm = load_lm(folder, tokenizer) if steps["joint"] else new_lm(tokenizer)
    torch.manual_seed(0)
    adapter = build_adapter(encoder, lm, acoustic=acoustic)
    model = AudioDiffusionLM.from_parts(encoder, adapter, lm, tokenizer, sampler=SAMPLER)
    standard = Standard.of(clips)
    lessons = Lessons(model, clips, standard, acoustic=acoustic)
    suffix = "" if acoustic else "_semantic_only"
    schedule = Schedule(steps["naming"], 1e-3)
    fit(f"naming{suffix}", model.adapter, lessons.naming, schedule, folder)
    if steps["joint"]:
        schedule = Schedule(steps["joint"], 1e-3)
        fit(f"joint{suffix}", model, lessons.joint, schedule, folder, rates={"backbone": 0.5})
    standard.fold(*parts_of(model.adapter))
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--whisper", default="openai/whisper-base", help="folder or hub id")
    parser.add_argument("--naming-steps", type=int, default=1600)
    parser.add_argument("--joint-steps", type=int, default=1350, help="0: naming alone")
    parser.add_argument("--semantic-only", action="store_true")
    args = parser.parse_args()
    acoustic = not args.semantic_only
    steps = {"naming": args.naming_steps, "joint": args.joint_steps}
    model = train_adapters(Clips(args.clips), args.run, args.whisper, steps, acoustic=acoustic)
    if not args.joint_steps:
        return
    out = args.run / ("model" if acoustic else "model_semantic_only")
    model.save_pretrained(out, storage_dtype=torch.int8)
    print(f"saved to {out}")


if __name__ == "__main__":
    main()
