"""Objectives: masked-diffusion cross-entropy, ELBO estimates, preference losses."""

from .cross_entropy import masked_cross_entropy
from .masked import MaskedDiffusionLoss

__all__ = ["MaskedDiffusionLoss", "masked_cross_entropy"]
