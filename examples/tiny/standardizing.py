"""Adapters that learn from standardized states, and then read the encoder's own.

Most of the variance of Whisper's lower layers is its position embedding and a few loud dimensions.
Learning is quicker where every dimension has mean zero and standard deviation one; afterwards both
are folded into the weights that read them, which changes no output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from clips import Clips
from settings import TAPS
from torch import Tensor

from dllm_audio import AcousticAdapter, DualAdapter, EncoderOutput, SemanticAdapter

SAMPLE = 1000  # clips


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation ``[E]`` of the tapped states, and of the last one.

    Convolutions see zeros beside a clip, so that the last state is scaled and not shifted.
    """

    mean: Tensor
    deviation: Tensor
    last: Tensor

    @classmethod
    def of(cls, clips: Clips) -> Standard:
        """Measured on some of the clips."""
        rows = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
        tapped, last = [], []
        for row in rows[:SAMPLE].tolist():
            states = clips.states([row])
            tapped += [states.hidden_states[tap][0, ::8] for tap in TAPS]
            last.append(states.last_hidden_state[0, ::8])
        frames, final = torch.cat(tapped), torch.cat(last)
        return cls(frames.mean(0), frames.std(0), final.std(0))

    def __call__(self, states: EncoderOutput) -> EncoderOutput:
        """The same states, standardized."""
        hidden = list(states.hidden_states)
        for tap in TAPS:
            hidden[tap] = (hidden[tap] - self.mean) / self.deviation
        last = states.last_hidden_state / self.last
        return EncoderOutput(last, tuple(hidden), states.lengths, states.hidden_lengths)

    @torch.no_grad()
    def fold(self, semantic: SemanticAdapter, acoustic: AcousticAdapter | None) -> None:
        """Let adapters that learned from standardized states read the encoder's own."""
        semantic.conv.weight.div_(self.last[None, :, None])
        for layer in acoustic.layers if acoustic is not None else ():
            for linear in (layer.cross_attention.key, layer.cross_attention.value):
                linear.weight.div_(self.deviation)
                linear.bias.sub_(linear.weight @ self.mean)


def parts_of(adapter: torch.nn.Module) -> tuple[SemanticAdapter, AcousticAdapter | None]:
    """The semantic adapter, and the acoustic one where there is one."""
    return adapter.semantic, adapter.acoustic if isinstance(adapter, DualAdapter) else None
