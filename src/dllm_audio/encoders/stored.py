"""A model of transformers as a pickle takes it: its class, its config and its tensors.

The model itself is taken by none once it has given hidden states, because transformers then has
hooks of its own in it; and a layer with weight norm is taken at no time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ..errors import InvalidArgumentError
from ..weights import shorten


@dataclass(frozen=True)
class StoredModel:
    """All that tells two models of one class apart, but for hooks."""

    model_class: type[PreTrainedModel]
    config: PretrainedConfig
    tensors: dict[str, Tensor]  # parameters and buffers
    modes: list[bool]  # training mode of every module

    @classmethod
    def of(cls, model: PreTrainedModel) -> StoredModel:
        """What is to be stored of a model.

        Raises:
            InvalidArgumentError: the model has more or fewer tensors than its config says, such
                as those of LoRA.
        """
        stored = cls(
            type(model), model.config, _tensors(model), [m.training for m in model.modules()]
        )
        differing = stored.tensors.keys() ^ _tensors(stored._empty()).keys()
        if differing:
            expected = "the layers of its class alone, to be pickled"
            raise InvalidArgumentError("model", expected, shorten(sorted(differing)))
        return stored

    def model(self) -> PreTrainedModel:
        """A model that is equal, on the very tensors that are stored."""
        model = self._empty()
        for name, tensor in self.tensors.items():
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, tensor)
        for module, mode in zip(model.modules(), self.modes, strict=True):
            module.training = mode
        return model

    def _empty(self) -> PreTrainedModel:
        with torch.device("meta"):
            return self.model_class(self.config)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    parameters = model.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(model.named_buffers(remove_duplicate=False))}
