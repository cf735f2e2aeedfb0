"""What one training step computes, as a module: a batch in, a loss out.

The whole step is one ``forward``, so that the engines that hook into it (DDP, FSDP2)
see every use of the parameters.

Shape letters: B batch, R response tokens, N samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data import IGNORED, stored_encoder_output
from ..diffusion import LinearSchedule, NoiseSchedule
from ..errors import InvalidArgumentError
from ..losses import (
    ElboSampling,
    MaskedDiffusionLoss,
    PairLengths,
    PreferenceObjective,
    estimate_elbo,
)
from ..model import AudioDiffusionLM
from ..outputs import EncoderOutput
from ..prompts import ConditionedPredictor, condition
from .noise import draw_elbo_masks, draw_noise
from .reference import Reference

TaskOutput = dict[str, Tensor]


class Task(nn.Module):
    """What both tasks share: the model, its frozen parts, and predictors for a batch.

    Args:
        model: what trains; parameters that do not require gradients stay as they are.
    """

    def __init__(self, model: AudioDiffusionLM) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Task:
        """Set training mode; a frozen encoder or adapter stays in evaluation mode."""
        super().train(mode)
        for part in (self.model.encoder, *self.model.adapter.children()):
            if not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    def recompute_blocks(self) -> None:
        """Recompute the backbone's blocks in the backward pass.

        Raises:
            InvalidArgumentError: the backbone has no ``gradient_checkpointing_enable``.
        """
        enable = getattr(self.model.backbone, "gradient_checkpointing_enable", None)
        if enable is None:
            expected = "false, or a backbone with gradient_checkpointing_enable()"
            got = type(self.model.backbone).__name__
            raise InvalidArgumentError("gradient_checkpointing", expected, got)
        enable()

    def encode(self, inputs: dict[str, Tensor]) -> EncoderOutput:
        """The encoder's output for a batch: computed, or taken from what was stored of it."""
        if "frames" in inputs:
            indices = getattr(self.model.adapter, "taps", None)
            if indices is None:
                expected = "an adapter that says which hidden states it reads (taps)"
                raise InvalidArgumentError("adapter", expected, type(self.model.adapter).__name__)
            taps = inputs.get("taps") if indices else None
            if indices and taps is None:
                raise InvalidArgumentError("taps", "stored hidden states for the adapter", None)
            return stored_encoder_output(
                inputs["frames"],
                inputs["frame_lengths"],
                taps,
                indices,
                None if taps is None else inputs.get("tap_lengths"),
            )
        trainable = any(p.requires_grad for p in self.model.encoder.parameters())
        with torch.set_grad_enabled(trainable and torch.is_grad_enabled()):
            return self.model.encoder(inputs["features"], inputs["feature_lengths"])

    @staticmethod
    def predictor(
        adapter: Any,
        backbone: Any,
        encoded: EncoderOutput,
        inputs: dict[str, Tensor],
        response_mask: Tensor,
    ) -> ConditionedPredictor:
        """The predictor of a batch."""
        return condition(
            backbone,
            inputs["prompt_ids"],
            prompt_mask=inputs["prompt_mask"],
            response_mask=response_mask,
            audio=adapter(encoded),
            audio_start=inputs["audio_start"],
        )

    def clean_response(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, R]`` (EOS beyond the targets) and response mask ``[B, R]``."""
        learned = labels != IGNORED
        return labels.masked_fill(~learned, self.model.backbone.config.eos_token_id), learned


class DiffusionTask(Task):
    """Supervised training with the masked-diffusion loss.

    In training, one noise level and mask per row; in evaluation a fixed set of masks per row, so
    that the curve shows the model and not the draw.

    Args:
        model: what trains.
        schedule: of the noise, shared by loss and forward process.
        evaluation: masks per row in evaluation.
        eps: smallest time.
    """

    def __init__(
        self,
        model: AudioDiffusionLM,
        schedule: NoiseSchedule | None = None,
        evaluation: ElboSampling | None = None,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(model)
        self.schedule = LinearSchedule() if schedule is None else schedule
        self.loss = MaskedDiffusionLoss(self.schedule)
        self.evaluation = ElboSampling() if evaluation is None else evaluation
        self.eps = eps

    def forward(
        self,
        labels: Tensor,
        seeds: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        **inputs: Tensor,
    ) -> TaskOutput:
        """Loss of a batch from :class:`dllm_audio.data.DiffusionCollator`.

        Args:
            labels: ``[B, R]`` int64, -100 where nothing is to be learned.
            seeds: ``[B]`` int64, what each row's mask is drawn from.
            num_items_in_batch: targets of the whole step, over accumulation and processes.
            inputs: the rest of the batch.

        Returns:
            ``loss``: in training, the sum of the weighted cross-entropies over
            ``num_items_in_batch``; in evaluation, the mean over rows of nats per token.
        """
        x_0, response_mask = self.clean_response(labels)
        encoded = self.encode(inputs)
        predictor = self.predictor(
            self.model.adapter, self.model.backbone, encoded, inputs, response_mask
        )
        if not self.training:
            draw = draw_elbo_masks(labels, seeds, self.evaluation, "evaluation")
            elbo = estimate_elbo(predictor, x_0, *draw)
            return {"loss": -(elbo / response_mask.sum(-1)).mean()}
        t, mask = draw_noise(labels, seeds, self.schedule, self.eps)
        output = self.loss(predictor, x_0, mask, t, response_mask, num_items_in_batch)
        return {"loss": output.loss}


class PreferenceTask(Task):
    """Training on pairs of a better and a worse answer.

    Args:
        model: the policy.
        objective: what the ELBOs are put into.
        reference: the policy of the stage before; needed unless the objective does without.
        sampling: how the ELBOs are drawn; None: as the objective says.

    Raises:
        InvalidArgumentError: the objective needs a reference and there is none.
    """

    def __init__(
        self,
        model: AudioDiffusionLM,
        objective: PreferenceObjective,
        reference: Reference | None = None,
        sampling: ElboSampling | None = None,
    ) -> None:
        super().__init__(model)
        if objective.needs_reference and reference is None:
            raise InvalidArgumentError("reference", f"one, for {objective}", None)
        self.objective = objective
        self.reference = reference if objective.needs_reference else None
        self.sampling = objective.sampling if sampling is None else sampling

    def forward(
        self,
        labels: Tensor,
        seeds: Tensor,
        chosen: Tensor,
        rejected: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        **inputs: Tensor,
    ) -> TaskOutput:
        """Loss of a batch from :class:`dllm_audio.data.PreferenceCollator`.

        Args:
            labels: ``[B]``, one per pair.
            seeds: ``[B]`` int64, what each row's masks are drawn from.
            chosen: ``[B, R1]`` int64, -100 where nothing counts.
            rejected: ``[B, R2]`` int64.
            num_items_in_batch: pairs of the whole step, over accumulation and processes.
            inputs: the rest of the batch.

        Returns:
            ``loss`` and ``margin [B]``.
        """
        encoded = self.encode(inputs)
        reference_chosen = reference_rejected = None
        # The reference comes first: its activations are gone before the policy's are made.
        if self.reference is not None:
            with torch.no_grad(), self.reference.scope(self.model) as (adapter, backbone):
                parts = (adapter, backbone, encoded, inputs, seeds)
                reference_chosen = self._elbo(*parts, chosen, "chosen", policy=False)
                reference_rejected = self._elbo(*parts, rejected, "rejected", policy=False)
        parts = (self.model.adapter, self.model.backbone, encoded, inputs, seeds)
        policy_chosen = self._elbo(*parts, chosen, "chosen", policy=True)
        policy_rejected = self._elbo(*parts, rejected, "rejected", policy=True)
        output = self.objective(
            policy_chosen,
            policy_rejected,
            reference_chosen,
            reference_rejected,
            lengths=PairLengths((chosen != IGNORED).sum(-1), (rejected != IGNORED).sum(-1)),
        )
        loss = output.loss
        if self.training and num_items_in_batch is not None:
            loss = loss * len(labels) / num_items_in_batch
        return {"loss": loss, "margin": output.margin.detach()}

    def _elbo(
        self,
        adapter: Any,
        backbone: Any,
        encoded: EncoderOutput,
        inputs: dict[str, Tensor],
        seeds: Tensor,
        labels: Tensor,
        side: str,
        *,
        policy: bool,
    ) -> Tensor:
        purpose = side if policy or self.sampling.shared else f"reference {side}"
        masks, ratios = draw_elbo_masks(labels, seeds, self.sampling, purpose)
        x_0, response_mask = self.clean_response(labels)
        predictor = self.predictor(adapter, backbone, encoded, inputs, response_mask)
        return estimate_elbo(predictor, x_0, masks, ratios)
