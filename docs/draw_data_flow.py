"""Draws ``images/data_flow.png``, the picture of the architecture page."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

INK, AUDIO, LANGUAGE, DECODE, TRAIN = "#22303c", "#dcebf7", "#e4f2e1", "#fdeccd", "#f6dfe3"
# name, folder, what comes out, x, y, color
BOXES = (
    ("waveform", "audio/", "[T] 16 kHz", 0.0, 1.0, AUDIO),
    ("log-mel", "audio/", "[B, n_mels, F] 100 Hz", 1.0, 1.0, AUDIO),
    ("encoder", "encoders/", "[B, S, E] 50 Hz\nand every layer", 2.0, 1.0, AUDIO),
    ("semantic", "adapters/", "[B, S//4, D] 12.5 Hz", 3.0, 1.5, AUDIO),
    ("acoustic", "adapters/", "[B, 64, D]", 3.0, 0.5, AUDIO),
    ("splice", "prompts/", "audio inside\nthe prompt", 4.0, 1.0, LANGUAGE),
    ("backbone", "backbones/", "logits of the\nresponse rows", 5.0, 1.0, LANGUAGE),
    ("sampler", "samplers/", "text", 6.0, 1.5, DECODE),
    ("loss, ELBO", "losses/", "gradients, scores", 6.0, 0.5, TRAIN),
)
ARROWS = ((0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 5), (5, 6), (6, 7), (6, 8))
SEAM_X = 5.5  # where the conditioned predictor stands
WIDTH, HEIGHT = 0.78, 0.62


def draw(axes: Axes) -> None:
    """Boxes, arrows and the seam, in units of one box and its gap."""
    for start, end in ARROWS:
        x0, y0, x1, y1 = *BOXES[start][3:5], *BOXES[end][3:5]
        axes.annotate(
            "",
            (x1 - WIDTH / 2, y1),
            (x0 + WIDTH / 2, y0),
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.3},
        )
    for name, folder, result, x, y, color in BOXES:
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        axes.add_patch(
            FancyBboxPatch(
                corner, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.06", fc=color, ec=INK
            )
        )
        axes.text(x, y + 0.17, name, ha="center", va="center", weight="bold", color=INK, size=11)
        axes.text(x, y, folder, ha="center", va="center", color=INK, size=8.5, family="monospace")
        axes.text(x, y - 0.19, result, ha="center", va="center", color=INK, size=7.5)
    axes.plot([SEAM_X, SEAM_X], [0.02, 1.9], color="#b5452c", lw=1.6, ls=(0, (4, 3)))
    axes.text(
        SEAM_X, 1.96, "MaskPredictor: x_t [B, R] to logits [B, R, V]", ha="center", color="#b5452c"
    )


def main() -> None:
    """Write the picture next to this file."""
    figure, axes = plt.subplots(figsize=(12.5, 3.9), layout="constrained")
    draw(axes)
    axes.set(xlim=(-0.45, 6.45), ylim=(0.0, 2.15), aspect="auto")
    axes.axis("off")
    target = Path(__file__).parent / "images" / "data_flow.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=130)
    print(target)


if __name__ == "__main__":
    main()
