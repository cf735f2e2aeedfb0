"""The output head of a masked language model apart from its body, by public means alone.

Every family builds its head from other modules, in an order that only its ``forward`` knows.  So
that ``forward`` itself is run, on a copy of the model that shares everything but the body: in the
body's place stands a module that returns the states it is given.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class GivenStates(nn.Module):
    """Stands in for a body: its output is its input."""

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> BaseModelOutput:
        """The states ``[B, L, D]`` as the body's output."""
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class SharedHead:
    """The head of a model, on the model's own weights.

    No module, so that no weight is registered twice.

    Args:
        model: of transformers, with a head on its ``base_model``.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.shared = _outside_the_body(model)
        self.copy = _without_body(model, self.shared)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of final hidden states ``[..., D]``."""
        shared = _outside_the_body(self.model)
        if [*map(id, shared)] != [*map(id, self.shared)]:  # a layer was put in by hand
            self.shared, self.copy = shared, _without_body(self.model, shared)
        if self.copy.training != self.model.training:
            self.copy.train(self.model.training)
        logits: Tensor = self.copy(inputs_embeds=hidden.reshape(1, -1, hidden.shape[-1]))[0]
        return logits.view(*hidden.shape[:-1], logits.shape[-1])

    def works(self) -> bool:
        """Whether the model's head can be run so: it reads nothing but the final states."""
        width = getattr(self.model.config, "hidden_size", None)
        if self.model.base_model is self.model or not isinstance(width, int):
            return False
        device = next(self.model.parameters()).device
        try:
            with torch.no_grad():
                logits = self(torch.zeros(2, width, dtype=self.model.dtype, device=device))
        except Exception:  # whatever a forward pass does that needs the real body
            return False
        return logits.dim() == 2


def _outside_the_body(model: PreTrainedModel) -> list[object]:
    children = [child for child in model.children() if child is not model.base_model]
    own = [*model.parameters(recurse=False), *model.buffers(recurse=False)]
    return [*children, *own]


def _without_body(model: PreTrainedModel, shared: list[object]) -> PreTrainedModel:
    # What the memo of a deep copy holds is taken from there instead of being copied.
    memo: dict[int, object] = {id(part): part for part in (model.config, *shared)}
    memo[id(model.base_model)] = GivenStates()
    return copy.deepcopy(model, memo)
