"""Linear layers whose weights lie in memory as the CPU's matrix kernels read them.

A cached decoding step multiplies every weight with the few rows of one block.  PyTorch's product of
float32 matrices rearranges the weight in every call, which for so few rows takes about as long as
the product.  oneDNN's takes a weight that was rearranged once.  It also sums in the same order
however many rows there are, so that a row's result does not depend on its batch in the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InvalidArgumentError

Module = TypeVar("Module", bound=nn.Module)
Layer = TypeVar("Layer", bound=nn.Module)

_ROWS = 32  # the layout is chosen for products with about this many rows


class PackedLinear(nn.Module):
    """The inference form of an ``nn.Linear``: same state dict, same bits in its weight.

    Args:
        linear: float32, on the CPU; it loses its weight.
    """

    packed: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("packed", None, persistent=False)
        self.register_buffer("bias", None)
        # What is left of the layer waits here, hidden from the module tree, to be unpacked.
        self._layer = (linear,)
        self._take(linear)

    def _take(self, linear: nn.Linear) -> None:
        with torch.no_grad():
            weight = linear.weight.detach().contiguous()
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()
        linear.register_parameter("weight", None)

    def unpacked(self) -> nn.Linear:
        """The layer that was packed, with its weight."""
        (linear,) = self._layer
        linear.weight = nn.Parameter(self.weight, requires_grad=False)
        return linear.train(self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedLinear:
        linear = copy.deepcopy(self.unpacked(), memo)
        self._layer[0].register_parameter("weight", None)
        return PackedLinear(linear).train(self.training)

    @property
    def weight(self) -> Tensor:
        """A dense copy ``[out_features, in_features]``."""
        return self.packed.to_dense()

    def forward(self, input: Tensor) -> Tensor:
        """``input @ weight.T + bias``: ``[..., in_features]`` to ``[..., out_features]``."""
        if torch.is_grad_enabled() and input.requires_grad:
            raise InvalidArgumentError(
                "input", "no gradients: packed weights are for inference", "requires_grad=True"
            )
        product = torch.ops.mkldnn._linear_pointwise
        output: Tensor = product(input, self.packed, self.bias, "none", [], "")
        return output

    def extra_repr(self) -> str:
        """Sizes, as ``nn.Linear`` shows them."""
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        try:
            super()._apply(fn, recurse)
        except NotImplementedError as error:  # there is no such layout elsewhere
            expected = "float32 and the CPU for packed weights; unpack_weights() first"
            raise InvalidArgumentError("module", expected, "another dtype or device") from error
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.weight
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: Any) -> None:
        linear = self.unpacked()  # knows what to check and how to name what is wrong
        linear._load_from_state_dict(*args)
        self._take(linear)


def pack_weights(module: Module) -> Module:
    """Pack every linear layer inside ``module``, in place, for inference on the CPU.

    The module is frozen: its parameters require no gradients afterwards.  Memory stays the same:
    the packed weight takes the dense one's place.  ``state_dict`` still gives dense weights, and
    :func:`.unpack_weights` brings the layers back to the bit.

    Args:
        module: a backbone, an encoder, or a whole :class:`dllm_audio.AudioDiffusionLM`; float32, on
            the CPU.

    Returns:
        ``module``.

    Raises:
        InvalidArgumentError: a layer has another dtype or device, or this build of PyTorch has no
            oneDNN (see :func:`.can_pack`); nothing is packed then.

    Example:
        >>> from dllm_audio.backbones import pack_weights
        >>> layers = pack_weights(torch.nn.Sequential(torch.nn.Linear(3, 2)))
        >>> type(layers[0]).__name__, layers(torch.zeros(5, 3)).shape
        ('PackedLinear', torch.Size([5, 2]))
    """
    if not _has_kernels():
        raise InvalidArgumentError("module", "a build of PyTorch with oneDNN", torch.__version__)
    unfit = next((weight for weight in _weights(module) if not _fits(weight)), None)
    if unfit is not None:
        got = f"{type(unfit.data).__name__} of {unfit.dtype} on {unfit.device}"
        raise InvalidArgumentError("module", "float32 weights on the CPU", got)
    _exchange(module, nn.Linear, PackedLinear)
    return module.requires_grad_(False)


def unpack_weights(module: Module) -> Module:
    """Undo :func:`.pack_weights`, in place; the layers are those from before, frozen.

    Args:
        module: what was packed; one that was not stays as it is.

    Returns:
        ``module``.

    Example:
        >>> from dllm_audio.backbones import pack_weights, unpack_weights
        >>> layers = pack_weights(torch.nn.Sequential(torch.nn.Linear(3, 2)))
        >>> type(unpack_weights(layers)[0]).__name__
        'Linear'
    """
    _exchange(module, PackedLinear, PackedLinear.unpacked)
    return module


def can_pack(module: nn.Module) -> bool:
    """Whether :func:`.pack_weights` can pack ``module`` with this build of PyTorch.

    Args:
        module: as for :func:`.pack_weights`.

    Returns:
        False where a linear layer is not float32 on the CPU, or PyTorch has no oneDNN.

    Example:
        >>> can_pack(torch.nn.Linear(3, 2).half())
        False
    """
    return _has_kernels() and all(_fits(weight) for weight in _weights(module))


def _has_kernels() -> bool:
    needed = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in needed
    )


def _weights(module: nn.Module) -> Iterator[Tensor]:
    return (layer.weight for layer in module.modules() if isinstance(layer, nn.Linear))


def _fits(weight: Tensor) -> bool:
    plain = type(weight.data) is Tensor  # and not, for example, quantized
    return plain and weight.dtype is torch.float32 and weight.device.type == "cpu"


def _exchange(module: nn.Module, kind: type[Layer], exchange: Callable[[Layer], nn.Module]) -> None:
    """Put something else in the place of every layer of a kind inside ``module``."""
    made: dict[Layer, nn.Module] = {}  # a layer may be used in several places
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, kind):
                if child not in made:
                    made[child] = exchange(child)
                parent._modules[name] = made[child]
