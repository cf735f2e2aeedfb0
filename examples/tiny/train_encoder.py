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
import math
from pathlib import Path

import torch
from clips import Clips
from fitting import Schedule, fit
from settings import TAPS, build_encoder
from torch import Tensor, nn
from torch.nn import functional as F

from dllm_audio import WhisperEncoder
from dllm_audio.data.toy import COMMANDS, DIGITS, MAX_SECONDS, Scene
from dllm_audio.data.toy.scenes import MAX_DIGITS
from dllm_audio.data.toy.signals import EVENTS

WORDS = (*DIGITS, *COMMANDS)
BLANK = 0
FACTS: dict[str, tuple] = {
    "sex": ("man", "woman"),
    "rate": ("slowly", "quickly"),
    "noise": ("clean", "noisy"),
    "event": EVENTS,
    "count": (1, 2, 3, 4, 5),
    "contour": ("rising", "falling"),
    "mode": ("major", "minor"),
    "tempo": ("slow", "fast"),
}
UNKNOWN = -100
SPIKE = 3  # frames on either side of a word's middle that carry its label
FRAMES_PER_SECOND = 50
FULL_WINDOW = int(MAX_SECONDS * 100)  # mel frames
SPAN_LAYER = 4
# Where the four heads of each layer look at first, in frames.
OFFSETS = (
    (-3, -1, 1, 3),
    (-6, -2, 2, 6),
    (-6, -2, 2, 6),
    (-8, -3, 3, 8),
    (-8, -3, 3, 8),
    (-6, -2, 2, 6),
)
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
        self.probe_norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(nn.Linear(probes * width, 2 * width), nn.GELU())
        self.fact_heads = nn.ModuleDict(
            {name: nn.Linear(2 * width, len(values)) for name, values in FACTS.items()}
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Last hidden state over the whole window, logits of words, spans and each fact."""
        with torch.autocast("cpu", torch.bfloat16):
            hidden = hidden_states(self.encoder, features)
            middle = self.probe_norm(hidden[max(TAPS)])
            attention = (middle @ self.probes.T).softmax(dim=1)
            read = torch.einsum("bsp,bse->bpe", attention, middle).flatten(1)
            facts = self.mix(read)
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


def initialize(encoder: WhisperEncoder) -> None:
    """Start from weights that let the sound through; Whisper's own start is made for large widths.

    Beside the fixed positions, whose size is one, the features would otherwise be lost.
    """
    for name, parameter in encoder.named_parameters():
        if "conv" in name and parameter.dim() == 3:
            nn.init.kaiming_normal_(parameter)
        elif parameter.dim() == 2 and "embed_positions" not in name:
            nn.init.xavier_uniform_(parameter)
    for layer, offsets in zip(encoder.model.layers, OFFSETS, strict=True):
        look_aside(layer.self_attn, offsets)


@torch.no_grad()
def look_aside(attention: nn.Module, offsets: tuple[int, ...], sharpness: float = 1.4) -> None:
    """Let each head start by looking at frames near a fixed offset, like taps of a convolution.

    Finding out that neighbors matter takes a small transformer most of its training.  Whisper's
    positions are sines and cosines of the same angles; queries and keys that copy both, the query
    turned by the offset, match best where ``key position = query position + offset``.
    """
    width = attention.q_proj.weight.shape[0]
    half, per_head = width // 2, width // len(offsets) // 2
    attention.q_proj.weight.mul_(0.2)
    attention.k_proj.weight.mul_(0.2)
    for head, offset in enumerate(offsets):
        for pair in range(per_head):
            index = 2 * pair  # of the angle: the faster half of them, every other one
            angle = offset * 10000.0 ** (-index / (half - 1))
            row = 2 * (head * per_head + pair)
            sine, cosine = sharpness * math.sin(angle), sharpness * math.cos(angle)
            for number, (own, other) in enumerate(((cosine, sine), (-sine, cosine))):
                attention.q_proj.weight[row + number, index] += own
                attention.q_proj.weight[row + number, half + index] += other
            attention.k_proj.weight[row, index] += sharpness
            attention.k_proj.weight[row + 1, half + index] += sharpness


def frame_labels(scenes: list[Scene], positions: int) -> dict[str, Tensor]:
    """Labels ``[B, S]`` of frames.

    Returns:
        ``words``: the word in whose middle a frame lies, else blank; ``places``: how many words
        come before that one, else ``UNKNOWN``; ``spans``: the word in whose span a frame lies.
    """
    words = torch.full((len(scenes), positions), BLANK)
    places, spans = torch.full_like(words, UNKNOWN), words.clone()
    for row, scene in enumerate(scenes):
        for place, span in enumerate(scene.spans):
            word = 1 + WORDS.index(span.text)
            middle = int((span.start + span.end) / 2 * FRAMES_PER_SECOND)
            core = slice(max(middle - SPIKE, 0), middle + SPIKE + 1)
            words[row, core], places[row, core] = word, place
            start, end = int(span.start * FRAMES_PER_SECOND), int(span.end * FRAMES_PER_SECOND)
            spans[row, start:end] = word
    return {"words": words, "places": places, "spans": spans}


def fact_labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Index of each fact's value, or ``UNKNOWN``."""

    def index(scene: Scene, name: str) -> int:
        value = getattr(scene, name)
        return UNKNOWN if value is None else FACTS[name].index(value)

    return {name: torch.tensor([index(scene, name) for scene in scenes]) for name in FACTS}


def word_targets(scenes: list[Scene]) -> list[list[int]]:
    """CTC targets."""
    return [[1 + WORDS.index(word) for word in scene.words] for scene in scenes]


def spec_augment(features: Tensor, generator: torch.Generator) -> Tensor:
    """Hide a few bands and moments, and change level and contrast a little."""
    batch, mels, frames = features.shape

    def hidden(size: int, longest: int) -> Tensor:
        width = torch.randint(0, longest + 1, (batch, 1), generator=generator)
        start = (torch.rand(batch, 1, generator=generator) * (size - width)).long()
        steps = torch.arange(size)[None]
        return (steps >= start) & (steps < start + width)

    floor = features.amin(dim=(1, 2), keepdim=True)
    masked = hidden(mels, 12)[:, :, None] | hidden(frames, 12)[:, None, :]
    level = 0.1 * torch.randn(batch, 1, 1, generator=generator)
    return torch.where(masked, floor, features) + level


def warp_frequencies(features: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch the mel axis of ``rows`` (bool ``[B]``) by up to an eighth, as other throats do."""
    batch, mels, _ = features.shape
    factor = 1 + 0.125 * (2 * torch.rand(batch, 1, generator=generator) - 1)
    factor = torch.where(rows[:, None], factor, 1.0)
    place = (torch.arange(mels) * factor).clamp(max=mels - 1)
    low = place.floor().long()
    share = (place - low)[..., None]
    index = low[..., None].expand(-1, -1, features.shape[2])
    below = features.gather(1, index)
    above = features.gather(1, (index + 1).clamp(max=mels - 1))
    return below + share * (above - below)


class Batches:
    """Rows of each step and the window (mel frames) that they are seen in.

    Clips of like length go together; the window is a little longer than the longest, and one time
    in eight it is the whole one, which the trained encoder always sees.
    """

    def __init__(self, frames: Tensor, batch_size: int, pool: int = 8) -> None:
        self._frames, self._batch_size, self._pool = frames, batch_size, pool
        self._pools = len(frames) // (batch_size * pool)

    def __call__(self, step: int) -> tuple[Tensor, int]:
        number, within = divmod(step, self._pool)
        epoch, number = divmod(number, self._pools)
        size = self._batch_size * self._pool
        order = torch.randperm(len(self._frames), generator=torch.Generator().manual_seed(epoch))
        rows = order[number * size :][:size]
        rows = rows[self._frames[rows].argsort()]
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randperm(
            self._pool, generator=torch.Generator().manual_seed(step // self._pool)
        )[within]
        rows = rows[chosen * self._batch_size :][: self._batch_size]
        slack = 4 * int(torch.randint(0, 12, (), generator=generator))
        window = min(-(-int(self._frames[rows].max()) // 4) * 4 + slack, FULL_WINDOW)
        whole = float(torch.rand((), generator=generator)) < 1 / 8
        return rows, FULL_WINDOW if whole else window


def train_encoder(
    clips: Clips, folder: Path, steps: int, batch_size: int = 32, start: Path | None = None
) -> WhisperEncoder:
    """Train from nothing (or from the weights in ``start``), or go on from ``folder``."""
    torch.manual_seed(0)
    model = EncoderPretraining(build_encoder(trainable=True))
    if start is not None:
        model.load_state_dict(torch.load(start, weights_only=True)["averages"], strict=False)
    objective = Objective(model, clips, steps)
    batches = Batches(clips.frames, batch_size)
    # Where nobody asks for the speaker's sex or for a melody, voices may be changed at will.
    warpable = torch.tensor([bool(s.words) and s.sex is None for s in clips.scenes])

    def step_function(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(step)
        rows, window = batches(step)
        features = clips.features[rows, :, :window].float()
        features = warp_frequencies(features, warpable[rows], generator)
        losses = objective(spec_augment(features, generator), rows, step)
        return sum(losses.values()), {name: loss.item() for name, loss in losses.items()}

    fit("encoder", model, step_function, Schedule(steps, 1.5e-3, warmup=200), folder)
    return model.encoder


class Objective:
    """The weighted losses of a batch, and the labels that they need.

    Args:
        model: encoder and heads.
        clips: what the rows refer to.
        steps: of the whole training, for the ramp of the center loss.
    """

    def __init__(self, model: EncoderPretraining, clips: Clips, steps: int) -> None:
        self._model, self._steps = model, steps
        self._targets, self._facts = word_targets(clips.scenes), fact_labels(clips.scenes)
        positions = model.encoder.config.max_source_positions
        self._labels = frame_labels(clips.scenes, positions)
        self._weight = torch.ones(1 + len(WORDS))
        self._weight[BLANK] = 0.2

    def __call__(self, features: Tensor, rows: Tensor, step: int) -> dict[str, Tensor]:
        last, frames, facts = self._model(features)
        labels = {name: label[rows, : last.shape[1]] for name, label in self._labels.items()}
        logits = {name: frame.transpose(1, 2) for name, frame in frames.items()}
        ramp = min(max(step / self._steps - CENTER_START, 0.0) / CENTER_RAMP, 1.0)
        losses = {
            "words": 2 * F.cross_entropy(logits["words"], labels["words"], self._weight),
            "spans": 2 * F.cross_entropy(logits["spans"], labels["spans"]),
            "ctc": 0.1 * self._ctc(frames["words"], rows),
            "center": CENTER_WEIGHT * ramp * self._center(last, labels),
            "facts": 0.25 * self._fact_loss(facts, rows),
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

    def _fact_loss(self, facts: dict[str, Tensor], rows: Tensor) -> Tensor:
        losses = [
            F.cross_entropy(logits, self._facts[name][rows])
            for name, logits in facts.items()
            if bool((self._facts[name][rows] != UNKNOWN).any())
        ]
        return torch.stack(losses).sum() if losses else torch.zeros(())


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
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    train_encoder(Clips(args.clips), args.run, args.steps, start=args.start)
    if args.check:
        model = EncoderPretraining(build_encoder())
        saved = torch.load(args.run / "encoder.pt", weights_only=True)
        model.load_state_dict(saved["averages"], strict=False)
        print(report(model, Clips(args.check)))


if __name__ == "__main__":
    main()
