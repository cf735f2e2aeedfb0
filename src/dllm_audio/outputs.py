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
            index 0 after convolution and positions, index i the output of layer i (Whisper's last
            one after the final layer norm; others' as transformers gives it).
        lengths: ``[B]`` int64 valid encoder frames per item.
        hidden_lengths: ``[B]`` int64 valid frames of the hidden states; an adapter must not look
            behind them, because what lies there hangs on the batch or was never trained.  None:
            the states cover a fixed window whose padding may be attended to, as Whisper's do.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]
    lengths: Tensor
    hidden_lengths: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AudioEmbeddings:
    """Audio in the backbone's embedding space; build one to bring your own embeddings.

    Attributes:
        embeds: ``[B, A, D]`` right-padded embeddings.
        lengths: ``[B]`` int64 valid embeddings per item, ``0 <= lengths <= A``.

    Example:
        Embeddings of your own in front of the prompt token with index 1:

        >>> import torch
        >>> from dllm_audio import LLaDA, LLaDAConfig, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> audio = AudioEmbeddings(torch.randn(2, 12, 32), torch.tensor([12, 7]))
        >>> prompt_ids = torch.tensor([[1, 2, 3], [1, 2, 3]])
        >>> predictor = condition(backbone, prompt_ids, audio=audio, audio_start=1)
        >>> predictor.prompt_length  # 3 tokens and the longest clip; shorter rows are padded
        15
    """

    embeds: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class BackboneOutput:
    """Result of a backbone's forward pass.

    Attributes:
        logits: ``[B, L, V]``, or None where hidden states were asked for.
        last_hidden_state: ``[B, L, D]`` final normalized states, or None.
    """

    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """Result of the forward (noising) process.

    Attributes:
        x_t: ``[B, R]`` int64 tokens, mask ids where masked.
        mask: ``[B, R]`` bool, True where a token was replaced by the mask id.

    Example:
        >>> import torch
        >>> from dllm_audio import mask_tokens
        >>> out = mask_tokens(torch.tensor([[4, 5]]), torch.tensor([1.0]), mask_token_id=9)
        >>> out.x_t, out.mask
        (tensor([[9, 9]]), tensor([[True, True]]))
    """

    x_t: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Trace:
    """When and how surely every position was committed.

    Attributes:
        step: ``[B, R]`` int64 forward pass (0-based) at which the position was committed;
            -1 where it was given from the start or filled with EOS behind an early stop.
        confidence: ``[B, R]`` float32 confidence at that step; NaN where ``step`` is -1.
        drafts: ``[S, B, R]`` int64 the responses after every pass, where tokens may be taken back:
            a position can be committed several times then, and ``step`` tells the last one. None
            where what is committed stays.
        draft_confidence: ``[S, B, R]`` float32 confidence at which what stood there had been
            committed; NaN where nothing had. None as above.
    """

    step: Tensor
    confidence: Tensor
    drafts: Tensor | None = None
    draft_confidence: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SamplerOutput:
    """What a sampler returns.

    Attributes:
        tokens: ``[B, R]`` int64 response tokens; never holds the mask id.
        lengths: ``[B]`` int64 tokens before the first EOS (R where there is none).
        nfe: forward passes of the backbone that the batch took.
        trace: commit order and confidence, or None when tracing is off.
        row_nfe: ``[B]`` int64 forward passes each row took part in.
        confidence: ``[B]`` float32 mean, over the tokens of the answer, of the confidence at which
            each was committed (see ``SamplingOptions.confidence``; by default a probability). The
            answer ends before the first EOS; tokens given from the start do not count; NaN where
            no token is left to count.

    Example:
        >>> import torch
        >>> from dllm_audio import LLaDA, LLaDAConfig, LowConfidenceSampler, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> predictor = condition(backbone, torch.tensor([[1, 2, 3], [4, 5, 6]]))
        >>> output = LowConfidenceSampler(steps=4, gen_length=16, trace=True)(predictor)
        >>> output.tokens.shape, output.nfe, output.row_nfe, output.tokens_per_forward
        (torch.Size([2, 16]), 4, tensor([4, 4]), 4.0)
        >>> [int((output.trace.step[0] == step).sum()) for step in range(4)]
        [4, 4, 4, 4]
    """

    tokens: Tensor
    lengths: Tensor
    nfe: int
    trace: Trace | None
    row_nfe: Tensor
    confidence: Tensor

    @property
    def tokens_per_forward(self) -> float:
        """Mean over the rows of the answer's tokens per forward pass that the row took part in.

        What is filled with EOS behind the answer does not count, nor does the EOS itself.
        """
        return float((self.lengths / self.row_nfe.clamp(min=1)).mean())


@dataclass(frozen=True, slots=True)
class Generation:
    """What :meth:`dllm_audio.AudioDiffusionLM.generate` returns.

    Attributes:
        texts: one answer a row, cut at its end and without special tokens; None where there is
            no text.
        output: tokens, lengths, forward passes and trace.
        choice_probabilities: where choices were given, the probability of each, one list a row, in
            the order of the choices; they sum to 1.
    """

    texts: list[str] | None
    output: SamplerOutput
    choice_probabilities: list[list[float]] | None = None


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
