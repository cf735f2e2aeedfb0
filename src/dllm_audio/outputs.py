"""Frozen result records shared by all parts.

Shape letters: B batch, F mel frames (100 Hz), S encoder frames (50 Hz), A audio embeddings,
R response tokens, D backbone width, E encoder width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What an audio encoder returns.

    Attributes:
        last_hidden_state: ``[B, S, E]`` frames after the final layer norm, cut to the longest
            valid length of the batch.
        hidden_states: ``1 + n_layers`` tensors ``[B, S_window, E]`` over the whole window:
            index 0 after convolution and positions, index i the output of layer i, the last one
            after the final layer norm.
        lengths: ``[B]`` int64 valid encoder frames per item.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class AudioEmbeddings:
    """Audio in the backbone's embedding space; build one to bring your own embeddings.

    Attributes:
        embeds: ``[B, A, D]`` right-padded embeddings.
        lengths: ``[B]`` int64 valid embeddings per item, ``0 <= lengths <= A``.
    """

    embeds: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class BackboneOutput:
    """Logits ``[B, L, V]`` of a backbone's forward pass."""

    logits: Tensor


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """Result of the forward (noising) process.

    Attributes:
        x_t: ``[B, R]`` int64 tokens, mask ids where masked.
        mask: ``[B, R]`` bool, True where a token was replaced by the mask id.
    """

    x_t: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Trace:
    """When and how surely every position was committed.

    Attributes:
        step: ``[B, R]`` int64 forward pass (0-based) at which the position was committed;
            -1 where it was given from the start or filled after an early stop.
        confidence: ``[B, R]`` float32 confidence at that step; NaN where ``step`` is -1.
    """

    step: Tensor
    confidence: Tensor


@dataclass(frozen=True, slots=True)
class SamplerOutput:
    """What a sampler returns.

    Attributes:
        tokens: ``[B, R]`` int64 response tokens; never holds the mask id.
        lengths: ``[B]`` int64 tokens before the first EOS (R where there is none).
        nfe: forward passes of the backbone that the batch took.
        trace: commit order and confidence, or None when tracing is off.
        row_nfe: ``[B]`` int64 forward passes each row took part in.
    """

    tokens: Tensor
    lengths: Tensor
    nfe: int
    trace: Trace | None
    row_nfe: Tensor

    @property
    def tokens_per_forward(self) -> float:
        """Mean over the rows of response tokens per forward pass that the row took part in."""
        return float((self.tokens.shape[1] / self.row_nfe.clamp(min=1)).mean())


@dataclass(frozen=True, slots=True)
class Generation:
    """What :meth:`dllm_audio.AudioDiffusionLM.generate` returns.

    Attributes:
        texts: one answer a row, cut at its end and without special tokens.
        output: tokens, lengths, forward passes and trace.
    """

    texts: list[str] | None
    output: SamplerOutput


@dataclass(frozen=True, slots=True)
class LossOutput:
    """Result of a masked-diffusion loss.

    Attributes:
        loss: scalar, differentiable.
        num_masked: scalar int64, masked tokens that entered the loss.
        num_tokens: scalar int64, response tokens that the loss was divided by.
    """

    loss: Tensor
    num_masked: Tensor
    num_tokens: Tensor


@dataclass(frozen=True, slots=True)
class PreferenceLossOutput:
    """Result of a preference objective.

    Attributes:
        loss: scalar, differentiable.
        margin: ``[B]`` the scaled difference between chosen and rejected that the objective
            pushes up; the preference accuracy is ``(margin > 0).mean()``.
    """

    loss: Tensor
    margin: Tensor
