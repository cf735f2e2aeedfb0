"""The model card that is written beside a model's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .model_config import PARTS, AudioDiffusionConfig

if TYPE_CHECKING:
    from .model import AudioDiffusionLM

_CARD = """---
library_name: dllm-audio
pipeline_tag: audio-text-to-text
tags: [masked-diffusion, audio]
---

# An audio-conditioned masked-diffusion language model

| part | kind | parameters |
|---|---|--:|
{rows}

## Use

```python
from dllm_audio import AudioDiffusionLM

model = AudioDiffusionLM.from_pretrained("{name}")
print(model.generate(audio=["clip.wav"], prompts=["What is said?"]).texts)
```

Parts that are not built into dllm-audio must be imported (and so registered) first. Answers are
decoded with `{sampler}` unless another sampler is given.

## Training

{training}

## License

{license}
"""
_UNKNOWN = "Not stated."
_LICENSE = (
    "Not stated by the library: the weights are under the licenses of the checkpoints and data "
    "that they come from."
)


def model_card(model: AudioDiffusionLM, config: AudioDiffusionConfig) -> str:
    """Markdown with a model's parts, sizes, use and, where it is known, training."""
    rows = [_row(kind, config.description(kind)["name"], getattr(model, kind)) for kind in PARTS]
    commit = model.default_sampler().to_dict()["commit"]["name"]
    return _CARD.format(
        rows="\n".join(rows),
        name="this-folder",
        sampler=f"{type(model.default_sampler()).__name__}, commit rule {commit}",
        training=config.training or _UNKNOWN,
        license=_LICENSE,
    )


def _row(kind: str, name: str, part: object) -> str:
    count = sum(p.numel() for p in part.parameters()) if isinstance(part, nn.Module) else 0
    return f"| {kind} | `{name}` | {count:,} |"
