"""Objectives: masked-diffusion cross-entropy, ELBO estimates, preference losses."""

from .cross_entropy import masked_cross_entropy
from .elbo import ElboSampling, draw_masks, estimate_elbo
from .masked import MaskedDiffusionLoss
from .objective import PairLengths, PreferenceObjective
from .preference import DPOLoss, IPOLoss, SimPOLoss, VRPOLoss, WithSFT

__all__ = [
    "DPOLoss",
    "ElboSampling",
    "IPOLoss",
    "MaskedDiffusionLoss",
    "PairLengths",
    "PreferenceObjective",
    "SimPOLoss",
    "VRPOLoss",
    "WithSFT",
    "draw_masks",
    "estimate_elbo",
    "masked_cross_entropy",
]
