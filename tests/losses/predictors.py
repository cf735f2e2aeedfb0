"""Small predictors for tests of losses: every logit depends on the whole partly masked response."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlainPredictor(nn.Module):
    """Gives logits only, as a fake of a foreign model."""

    eos_token_id = None

    def __init__(
        self,
        batch_size: int,
        width: int,
        vocab: int,
        dim: int = 6,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.batch_size, self.mask_token_id = batch_size, vocab - 1
        self.device = torch.device("cpu")
        self.embedding = nn.Parameter(torch.randn(vocab, dim, dtype=dtype))
        self.mixing = nn.Parameter(torch.randn(width, width, dtype=dtype))
        self.output = nn.Parameter(torch.randn(vocab, dim, dtype=dtype))
        self.positions = nn.Parameter(torch.randn(width, dim, dtype=dtype))

    def _hidden(self, x_t: Tensor) -> Tensor:
        return torch.tanh(self.mixing @ self.embedding[x_t] + self.positions)

    def forward(self, x_t: Tensor) -> Tensor:
        return self._hidden(x_t) @ self.output.T


class SplitPredictor(PlainPredictor):
    """The same model with its head apart; counts the rows that the head was run on."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.head_rows: list[int] = []

    def hidden(self, x_t: Tensor) -> Tensor:
        return self._hidden(x_t)

    def head(self, hidden: Tensor) -> Tensor:
        self.head_rows.append(hidden.shape[0])
        return hidden @ self.output.T


def split_copy(plain: PlainPredictor) -> SplitPredictor:
    width, (vocab, dim) = plain.positions.shape[0], plain.embedding.shape
    split = SplitPredictor(plain.batch_size, width, vocab, dim, dtype=plain.embedding.dtype)
    split.load_state_dict(plain.state_dict())
    return split
