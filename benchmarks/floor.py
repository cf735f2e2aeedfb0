"""The physical floor: what the measured memory and arithmetic rates of a device would allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from dllm_audio import LLaDAConfig
from dllm_audio.backbones import can_pack, pack_weights

from .measure import measure


@dataclass(frozen=True)
class Rates:
    """What one device does at best, measured at the start of a run.

    Attributes:
        bandwidth: bytes per second of a large copy, read and write both counted.
        flops: floating-point operations per second of a large square matrix product.
        dtype: of the matrix product.
    """

    bandwidth: float
    flops: float
    dtype: torch.dtype


def measure_rates(device: torch.device, dtype: torch.dtype, *, small: bool = False) -> Rates:
    """Copy bandwidth and matrix-product rate of ``device``: the fastest of several attempts."""
    on_gpu = device.type == "cuda"
    size = 2**20 if small else 2**31 if on_gpu else 2**28
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def fastest(call: Callable[[], object]) -> float:
        return min(measure(call, device, repeats=15).seconds)

    copy = fastest(lambda: target.copy_(source))
    edge = 128 if small else 8192 if on_gpu else 2048
    a, b = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    product = fastest(lambda: a @ b)
    layer = nn.Sequential(nn.Linear(edge, edge, bias=False, device=device, dtype=dtype))
    if can_pack(layer):  # another library's kernel
        packed = pack_weights(layer)
        product = min(product, fastest(lambda: packed(a)))
    return Rates(2 * size / copy, 2 * edge**3 / product, dtype)


@dataclass(frozen=True)
class Work:
    """What one forward pass has to read and compute at least.

    Attributes:
        bytes: weights and cached keys and values, each read once.
        flops: matrix products and attention.
    """

    bytes: int
    flops: int

    def seconds(self, rates: Rates) -> float:
        """The floor: the slower of reading and computing, perfectly overlapped."""
        return max(self.bytes / rates.bandwidth, self.flops / rates.flops)


def layer_weights(config: LLaDAConfig) -> int:
    """Weights of the matrix products of one block."""
    kv_width = config.kv_heads * config.head_dim
    attention = 2 * config.d_model**2 + 2 * config.d_model * kv_width
    return attention + 3 * config.d_model * config.mlp_hidden_size


@dataclass(frozen=True)
class Pass:
    """Positions of one forward pass.

    Attributes:
        batch: rows B.
        queries: positions that are computed.
        keys: positions that are attended to.
        outputs: positions whose logits are wanted.
    """

    batch: int
    queries: int
    keys: int
    outputs: int

    def work(self, config: LLaDAConfig, dtype: torch.dtype) -> Work:
        """Bytes and operations of this pass through a LLaDA."""
        body = config.n_layers * layer_weights(config)
        head = config.d_model * config.num_embeddings
        kv_width = config.kv_heads * config.head_dim
        cached = 2 * config.n_layers * self.batch * (self.keys - self.queries) * kv_width
        attention = 4 * config.n_layers * self.queries * self.keys * config.d_model
        operations = 2 * body * self.queries + 2 * head * self.outputs + attention
        return Work((body + head + cached) * dtype.itemsize, operations * self.batch)
