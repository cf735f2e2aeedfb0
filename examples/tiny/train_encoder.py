"""Stage 1: the encoder learns words at its end and everything else in its first layers.

The last hidden state is trained on words only: CTC (the words in order) and, because generated
clips tell where every word lies, labels for each frame: the word and its number in the middle of
each word (and, a layer below, the word in all of its span).  Once that works, a center loss (Wen et
al., 2016) pulls all frames of a word to one point, so that voice, noise and melody do not survive
up there.  What the acoustic adapter needs is asked from a hidden state half way: small heads read
the facts of the clip from it.  All heads are thrown away after this stage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from batches import Batches
from clips import Clips
from fitting import AGAIN, Schedule, fit, load_averages
from labels import (
    BLANK,
    FACTS,
    UNKNOWN,
    WORDS,
    fact_labels,
    fact_losses,
    frame_labels,
    word_targets,
)
from morphing import Morphs
from perturbing import perturb_speech
from settings import TAPS, build_encoder
from starting import initialize
from torch import Tensor, nn
from torch.nn import functional as F

from dllm_audio import WhisperEncoder
from dllm_audio.toy.scenes import MAX_DIGITS

SPAN_LAYER = 4
BLANK_WEIGHT = 0.4  # most frames are blank
CENTER_WEIGHT, CENTER_START, CENTER_RAMP = 0.5, 0.3, 0.3  # shares of the training


class EncoderPretraining(nn.Module):
    """The encoder and the heads that teach it."""

    def __init__(self, encoder: WhisperEncoder, probes: int = 8) -> None:
        super().__init__()
        width = encoder.hidden_size
        self.encoder = encoder
        initialize(encoder)
        self.word_head = nn.Linear(width, 1 + len(WORDS))
        self.span_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + len(WORDS)))
        self.place_head = nn.Linear(width, MAX_DIGITS)
        self.centers = nn.Embedding(1 + len(WORDS), width)
        self.place_centers = nn.Embedding(1 + MAX_DIGITS, width)
        self.probes = nn.Parameter(torch.randn(probes, width) / width**0.5)
        self.tap_norms = nn.ModuleList(nn.LayerNorm(width) for _ in TAPS)
        self.mix = nn.Sequential(nn.Linear((probes + len(TAPS)) * width, 2 * width), nn.GELU())
        self.fact_heads = nn.ModuleDict(
            {name: nn.Linear(2 * width, len(values)) for name, values in FACTS.items()}
        )

    def forward(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Last hidden state over the window, logits of frames by kind, logits of facts by name."""
        with torch.autocast("cpu", torch.bfloat16):
            hidden = hidden_states(self.encoder, features)
            tapped = [norm(hidden[tap]) for norm, tap in zip(self.tap_norms, TAPS, strict=True)]
            attention = (tapped[-1] @ self.probes.T).softmax(dim=1)
            read = torch.einsum("bsp,bse->bpe", attention, tapped[-1])
            # The means over time tell the notes of a melody, which probes alone hardly find.
            means = torch.stack([tap.mean(dim=1) for tap in tapped], dim=1)
            facts = self.mix(torch.cat((read, means), dim=1).flatten(1))
            logits = {name: head(facts).float() for name, head in self.fact_heads.items()}
            last = hidden[-1]
            frames = {
                "words": self.word_head(last).float(),
                "places": self.place_head(last).float(),
                "spans": self.span_head(hidden[SPAN_LAYER]).float(),
            }
        return last.float(), frames, logits


def hidden_states(encoder: WhisperEncoder, features: Tensor) -> list[Tensor]:
    """The encoder's hidden states over a window that may be shorter than its own.

    Most clips fill half of the window; training on the rest would take as long again.
    """
    model = encoder.model
    x = F.gelu(model.conv2(F.gelu(model.conv1(features)))).transpose(1, 2)
    x = x + model.embed_positions.weight[: x.shape[1]]
    states = [x]
    for layer in model.layers:
        x = layer(x, None)
        x = x[0] if isinstance(x, tuple) else x
        states.append(x)
    states[-1] = model.layer_norm(x)
    return states


def train_encoder(
    clips: Clips, folder: Path, steps: int, batch_size: int = 32, start: Path | None = None
) -> WhisperEncoder:
    """Train from nothing (or from the weights in ``start``), or go on from ``folder``."""
    torch.manual_seed(0)
    model = EncoderPretraining(build_encoder(trainable=True))
    # At this size plain matrix products beat fused attention, whose backward pass is slow.
    model.encoder.model.set_attn_implementation("eager")
    again = start is not None
    if start is not None:
        model.load_state_dict(load_averages(start), strict=False)
    objective = Objective(model, clips, 0 if again else steps)
    batches = Batches(clips.frames, batch_size)
    voices = torch.tensor([bool(s.words) and s.sex is None for s in clips.scenes])
    asked = [(s.noise, s.event) != (None, None) for s in clips.scenes]
    anything = voices & ~torch.tensor(asked)
    morph = Morphs(clips, anything)

    def step_function(step: int) -> tuple[Tensor, dict[str, float]]:
        step += AGAIN * again  # other clips than the first time
        generator = torch.Generator().manual_seed(step)
        rows, window = batches(step)
        features = morph(clips.features[rows, :, :window].float(), rows, generator)
        features = perturb_speech(features, voices[rows], anything[rows], generator)
        losses = objective(features, rows, step)
        return sum(losses.values()), {name: loss.item() for name, loss in losses.items()}

    rate = 1e-3 if again else 1.5e-3
    fit("encoder", model, step_function, Schedule(steps, rate, warmup=200), folder)
    return model.encoder


class Objective:
    """The weighted losses of a batch, and the labels that they need.

    Args:
        model: encoder and heads.
        clips: what the rows refer to.
        steps: of the whole training, for the ramp of the center loss; 0: no ramp.
    """

    def __init__(self, model: EncoderPretraining, clips: Clips, steps: int) -> None:
        self._model, self._steps = model, steps
        self._targets, self._facts = word_targets(clips.scenes), fact_labels(clips.scenes)
        positions = model.encoder.config.max_source_positions
        self._labels = frame_labels(clips.scenes, positions)
        self._weight = torch.ones(1 + len(WORDS))
        self._weight[BLANK] = BLANK_WEIGHT

    def __call__(self, features: Tensor, rows: Tensor, step: int) -> dict[str, Tensor]:
        last, frames, facts = self._model(features)
        labels = {name: label[rows, : last.shape[1]] for name, label in self._labels.items()}
        logits = {name: frame.transpose(1, 2) for name, frame in frames.items()}
        done = step / self._steps if self._steps else 1.0
        ramp = min(max(done - CENTER_START, 0.0) / CENTER_RAMP, 1.0)
        losses = {
            "words": 2 * F.cross_entropy(logits["words"], labels["words"], self._weight),
            "spans": 2 * F.cross_entropy(logits["spans"], labels["spans"]),
            "ctc": 0.1 * self._ctc(frames["words"], rows),
            "center": CENTER_WEIGHT * ramp * self._center(last, labels),
            "facts": 0.4 * fact_losses(facts, self._fact_labels(rows)).sum(),
        }
        if bool((labels["places"] != UNKNOWN).any()):
            losses["places"] = F.cross_entropy(logits["places"], labels["places"])
        return losses

    def _ctc(self, words: Tensor, rows: Tensor) -> Tensor:
        chosen = [self._targets[row] for row in rows.tolist()]
        return F.ctc_loss(
            words.log_softmax(-1).transpose(0, 1),
            torch.tensor([label for target in chosen for label in target]),
            torch.full((len(rows),), words.shape[1]),
            torch.tensor([len(target) for target in chosen]),
        )

    def _center(self, last: Tensor, labels: dict[str, Tensor]) -> Tensor:
        place = self._model.place_centers((labels["places"] + 1).clamp(min=0))
        center = self._model.centers(labels["words"]) + place
        return (last - F.layer_norm(center, last.shape[-1:])).square().mean()

    def _fact_labels(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: label[rows] for name, label in self._facts.items()}


@torch.no_grad()
def report(model: EncoderPretraining, clips: Clips, limit: int = 1500) -> dict[str, float]:
    """Greedy CTC exact matches and accuracy of each fact, on the first ``limit`` clips."""
    model.eval()
    right: dict[str, list[bool]] = {}
    targets, facts = word_targets(clips.scenes), fact_labels(clips.scenes)
    place_labels = frame_labels(clips.scenes, model.encoder.config.max_source_positions)["places"]
    for start in range(0, min(limit, len(clips)), 100):
        rows = range(start, min(start + 100, len(clips)))
        _, frames, logits = model(clips.features[rows].float())
        for row, best in zip(rows, frames["words"].argmax(-1).tolist(), strict=True):
            scene = clips.scenes[row]
            steps = zip(best, [BLANK, *best], strict=False)
            found = [word for word, before in steps if word not in (BLANK, before)]
            name = scene.subject
            if name == "digits":
                name = "synthetic" if "_" in (scene.voice or "") else "human"
                name += " one" if len(scene.words) == 1 else " many"
            right.setdefault(name, []).append(found == targets[row])
        places = place_labels[start : start + len(rows)]
        hits = (frames["places"].argmax(-1) == places)[places != UNKNOWN]
        right.setdefault("places", []).extend(hits.tolist())
        for name, scores in logits.items():
            known = facts[name][rows] != UNKNOWN
            hits = (scores.argmax(-1) == facts[name][rows])[known]
            right.setdefault(name, []).extend(hits.tolist())
    return {name: round(sum(hits) / len(hits), 3) for name, hits in sorted(right.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--check", type=Path, help="clips that are only measured on")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="an earlier run's encoder.pt to begin with")
    parser.add_argument("--steps", type=int, default=6500)
    args = parser.parse_args()
    train_encoder(Clips(args.clips), args.run, args.steps, start=args.start)
    if args.check:
        model = EncoderPretraining(build_encoder())
        model.load_state_dict(load_averages(args.run / "encoder.pt"), strict=False)
        print(report(model, Clips(args.check)))


if __name__ == "__main__":
    main()
