"""Stage 3: encoder and language model stay frozen; the adapters learn to connect them.

With ``--semantic-only`` the same is done with the semantic adapter alone: the ablation that shows
what the acoustic adapter is for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from asking import Answering
from clips import Clips
from described import draw_layout
from fitting import AGAIN, Schedule, fit, load_averages
from make_tokenizer import make_tokenizer
from naming import Naming
from numpy.random import Generator
from perturbing import spec_augment
from settings import RESPONSE_LENGTH, build_adapter, build_backbone, build_encoder
from torch import Tensor

from dllm_audio import AudioDiffusionLM, AudioEmbeddings, CachedParallelSampler, Threshold
from dllm_audio.toy import Scene, ToyRecord, ask, askable

SAMPLER = CachedParallelSampler(RESPONSE_LENGTH, RESPONSE_LENGTH, Threshold(0.9))
QUESTIONS_PER_CLIP = 2
NAMING_WEIGHT = 0.3
# Sequences need many looks, and so do facts that only some clips have.
FAMILY_WEIGHTS = {
    "digits": 5.0,
    "position": 1.0,
    "contains": 2.0,
    "command": 4.0,
    "speaker": 2.0,
    "rate": 2.0,
    "noise": 3.0,
    "event": 2.0,
    "count": 4.0,
    "contour": 1.0,
    "mode": 1.0,
    "tempo": 1.0,
    "describe": 3.0,
}


def load_parts(folder: Path, *, acoustic: bool) -> AudioDiffusionLM:
    """Encoder and language model as the stages before left them, and fresh adapters."""
    tokenizer = make_tokenizer(folder / "tokenizer")
    encoder, backbone = build_encoder(), build_backbone(tokenizer)
    saved = load_averages(folder / "encoder.pt")
    prefix = "encoder."
    weights = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    fixed = {"model.embed_positions.weight"}
    if set(encoder.load_state_dict(weights, strict=False).missing_keys) - fixed:
        raise ValueError(f"{folder / 'encoder.pt'} lacks weights of the encoder")
    backbone.load_state_dict(load_averages(folder / "lm.pt"))
    torch.manual_seed(0)
    adapter = build_adapter(encoder, backbone, acoustic=acoustic)
    model = AudioDiffusionLM.from_parts(encoder, adapter, backbone, tokenizer, sampler=SAMPLER)
    model.encoder.requires_grad_(False)
    model.backbone.requires_grad_(False)
    return model


def ask_about(scene: Scene, layout: str | None, rng: Generator) -> list[ToyRecord]:
    """Some questions about one clip, rather the hard ones."""
    families = askable(scene)
    share = np.array([FAMILY_WEIGHTS[family] for family in families])
    chosen = rng.choice(families, QUESTIONS_PER_CLIP, p=share / share.sum())
    return [ask(scene, str(family), rng, layout=layout) for family in chosen]


def train_adapters(
    clips: Clips,
    folder: Path,
    steps: int,
    *,
    acoustic: bool = True,
    clips_per_step: int = 16,
    start: Path | None = None,
) -> AudioDiffusionLM:
    """Train from nothing (or from the weights in ``start``), or go on from ``folder``."""
    model = load_parts(folder, acoustic=acoustic)
    again = start is not None
    if start is not None:
        model.adapter.load_state_dict(load_averages(start))
    answering = Answering(model.backbone, model.tokenizer)
    naming = Naming(model.backbone, model.tokenizer) if acoustic else None
    # A clip that nothing can be asked about (its facts are in doubt) is only heard in stage 1.
    usable = torch.tensor([i for i, scene in enumerate(clips.scenes) if askable(scene)])
    per_epoch = len(usable) // clips_per_step

    def step_function(step: int) -> tuple[Tensor, dict[str, float]]:
        step += AGAIN * again  # other questions than the first time
        rng = np.random.default_rng([2, step])
        generator = torch.Generator().manual_seed(step)
        epoch = torch.Generator().manual_seed(1000 + step // per_epoch)
        order = usable[torch.randperm(len(usable), generator=epoch)]
        rows = order[step % per_epoch * clips_per_step :][:clips_per_step]
        layout = draw_layout(rng)
        records = [r for row in rows.tolist() for r in ask_about(clips.scenes[row], layout, rng)]
        with torch.autocast("cpu", torch.bfloat16):
            features = spec_augment(clips.features[rows].float(), generator)
            heard = model.encode_audio(features, clips.frames[rows])
            audio = AudioEmbeddings(
                heard.embeds.repeat_interleave(QUESTIONS_PER_CLIP, 0),
                heard.lengths.repeat_interleave(QUESTIONS_PER_CLIP, 0),
            )
            loss = answering(audio, records, generator)
        if naming is None:
            return loss, {}
        names = naming(heard.embeds, [clips.scenes[row] for row in rows.tolist()])
        return loss + NAMING_WEIGHT * names, {"answers": loss.item(), "names": names.item()}

    name = "adapters" if acoustic else "semantic_only"
    fit(name, model.adapter, step_function, Schedule(steps, 2e-3, warmup=100), folder)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--start", type=Path, help="an earlier run's adapters.pt to begin with")
    parser.add_argument("--semantic-only", action="store_true")
    args = parser.parse_args()
    acoustic = not args.semantic_only
    model = train_adapters(
        Clips(args.clips), args.run, args.steps, acoustic=acoustic, start=args.start
    )
    out = args.run / ("model" if acoustic else "model_semantic_only")
    model.save_pretrained(out, storage_dtype=torch.float16)
    print(f"saved to {out}")


if __name__ == "__main__":
    main()
