"""The model card that is written beside a model's weights."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torch import nn

from .model_config import PARTS, AudioDiffusionConfig

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

model = AudioDiffusionLM.from_pretrained("this-folder")
print(model.generate(audio=["clip.wav"], prompts=["What is said?"]).texts)
```

Parts that are not built into dllm-audio must be imported (and so registered) first. Unless another
sampler is given, answers are decoded with: {sampler}.

## Training

{training}

## License

{license}
"""
_UNSET = "blocks of 32, confidence threshold 0.9 and a prefix cache"
_LICENSE = (
    "Not stated by the library: the weights are under the licenses of the checkpoints and data "
    "that they come from."
)


def model_card(config: AudioDiffusionConfig, parts: Mapping[str, object]) -> str:
    """Markdown with a model's parts, sizes, use and, where it is known, training."""
    rows = [_row(kind, config.description(kind)["name"], parts[kind]) for kind in PARTS]
    return _CARD.format(
        rows="\n".join(rows),
        sampler=_UNSET if config.sampler is None else f"`{json.dumps(config.sampler)}`",
        training=config.training or "Not stated.",
        license=config.license or _LICENSE,
    )


def _row(kind: str, name: str, part: object) -> str:
    count = sum(p.numel() for p in part.parameters()) if isinstance(part, nn.Module) else 0
    return f"| {kind} | `{name}` | {count:,} |"
