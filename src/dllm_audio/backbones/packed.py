"""Linear layers whose weights lie in memory as the CPU's matrix kernels read them.

A cached decoding step multiplies every weight with the few rows of one block.  PyTorch's product of
float32 matrices rearranges the weight in every call, which for so few rows takes about as long as
the product.  oneDNN's takes a weight that was rearranged once.  It also sums in the same order
however many rows there are, so that a row's result does not depend on its batch in the last bit.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InvalidArgumentError

Module = TypeVar("Module", bound=nn.Module)
Layer = TypeVar("Layer", bound=nn.Module)

_ROWS = 32  # the layout is chosen for products with about this many rows


class PackedLinear(nn.Module):
    """The inference form of an ``nn.Linear``: same state dict, same bits in its weight.

    Args:
        linear: float32, on the CPU; it loses its weight and bias.
    """

    packed: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach()
        # The guard comes first, so that a conversion is refused before anything is converted.
        guard = torch.empty(0, dtype=torch.float32, device="cpu").as_subclass(_Guard)
        self.register_buffer("guard", guard, persistent=False)
        self.register_buffer("packed", _pack(linear.weight.detach()), persistent=False)
        self.register_buffer("bias", bias)
        self.register_state_dict_post_hook(_put_weight)
        self.register_load_state_dict_pre_hook(_take_weight)
        self.train(linear.training)
        # What is left of the layer waits here, hidden from the module tree, to be unpacked.
        self._layer = (linear,)
        linear.register_parameter("weight", None)
        linear.register_parameter("bias", None)

    def unpacked(self) -> nn.Linear:
        """The layer that was packed, with its weight."""
        return self._filled(self._layer[0])

    def _filled(self, linear: nn.Linear) -> nn.Linear:
        linear.weight = nn.Parameter(self.weight, requires_grad=False)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias, requires_grad=False)
        return linear.train(self.training)

    def __reduce__(self) -> tuple[Callable[[nn.Linear], nn.Module], tuple[nn.Linear]]:
        # The packed layout cannot be copied or pickled; the dense layer can.
        return _repacked, (self._filled(copy.deepcopy(self._layer[0])),)

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
        return _product(input, self.packed, self.bias)

    def extra_repr(self) -> str:
        """Sizes, as ``nn.Linear`` shows them."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class _Guard(Tensor):
    """An empty float32 buffer that lets nobody move or convert the module that it is in."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = super().__torch_function__(func, types, args, dict(kwargs or {}))
        if isinstance(result, Tensor) and not _on_cpu_in_float32(result):
            expected = "float32 and the CPU for packed weights; unpack_weights() first"
            raise InvalidArgumentError("module", expected, f"{result.dtype} on {result.device}")
        return result


def _put_weight(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: object
) -> None:
    """Add the dense weight to a state dict, before the bias, as ``nn.Linear`` has them."""
    state_dict[prefix + "weight"] = module.weight
    if module.bias is not None:
        state_dict[prefix + "bias"] = state_dict.pop(prefix + "bias")


def _take_weight(
    module: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: object,
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Pack a dense weight from a state dict; PyTorch itself loads the rest."""
    name = prefix + "weight"
    if name not in state_dict:
        if strict:
            missing_keys.append(name)
        return
    weight, shape = state_dict.pop(name), (module.out_features, module.in_features)
    if isinstance(weight, Tensor) and weight.shape == shape:
        module.packed = _pack(weight.detach().to("cpu", torch.float32))
    else:
        got = list(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        error_msgs.append(f"size mismatch for {name}: expected {list(shape)}, got {got}")


def _pack(weight: Tensor) -> Tensor:
    with torch.no_grad():
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
    return packed


def _product(input: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product = torch.ops.mkldnn._linear_pointwise
    output: Tensor = product(input, packed, bias, "none", [], "")
    return output


def _repacked(linear: nn.Linear) -> nn.Module:
    """A copied layer in its packed form, where this build of PyTorch has one."""
    return PackedLinear(linear) if _operators_work() else linear


def pack_weights(module: Module) -> Module:
    """Pack every linear layer inside ``module``, in place, for inference on the CPU.

    The module is frozen: its parameters require no gradients afterwards.  Memory stays the same:
    the packed weight takes the dense one's place.  ``state_dict`` still gives dense weights, and
    :func:`.unpack_weights` brings the layers back to the bit.

    Args:
        module: a backbone, an encoder, or a whole :class:`dllm_audio.AudioDiffusionLM`; float32, on
            the CPU.

    Returns:
        ``module``; unchanged, with a warning, where this build of PyTorch cannot pack (see
        :func:`.can_pack`).

    Raises:
        InvalidArgumentError: a layer has another dtype or device; nothing is packed then.

    Example:
        >>> from dllm_audio.backbones import pack_weights
        >>> layers = pack_weights(torch.nn.Sequential(torch.nn.Linear(3, 2)))
        >>> type(layers[0]).__name__, layers(torch.zeros(5, 3)).shape
        ('PackedLinear', torch.Size([5, 2]))
    """
    unfit = next((weight for weight in _weights(module) if not _fits(weight)), None)
    if unfit is not None:
        got = f"{type(unfit.data).__name__} of {unfit.dtype} on {unfit.device}"
        raise InvalidArgumentError("module", "float32 weights on the CPU", got)
    if not _operators_work():
        _warn_once()
        return module
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
        False where a linear layer is not float32 on the CPU, or PyTorch lacks oneDNN's packed
        products, or they do not give what the plain ones give.

    Example:
        >>> can_pack(torch.nn.Linear(3, 2).half())
        False
    """
    return _operators_work() and all(_fits(weight) for weight in _weights(module))


@cache
def _operators_work() -> bool:
    """Whether the two operators are there and give, within rounding, what ``F.linear`` gives.

    They are not part of PyTorch's public interface, so another version may lack or change them.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        input, weight, bias = (
            torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")
            for shape in ((2, 3, 48), (40, 48), (40,))
        )
        try:
            packed = _pack(weight)
            same = torch.equal(packed.to_dense(), weight) and all(
                torch.allclose(_product(input, packed, b), F.linear(input, weight, b), atol=1e-4)
                for b in (bias, None)
            )
        except (AttributeError, TypeError, ValueError, RuntimeError):
            return False
    return same


@cache
def _warn_once() -> None:
    warnings.warn(
        f"PyTorch {torch.__version__} has no packed products on this machine, or wrong ones: "
        "weights stay as they are",
        stacklevel=3,
    )


def _weights(module: nn.Module) -> Iterator[Tensor]:
    return (layer.weight for layer in module.modules() if isinstance(layer, nn.Linear))


def _fits(weight: Tensor) -> bool:
    plain = type(weight.data) is Tensor  # and not, for example, quantized
    return plain and _on_cpu_in_float32(weight)


def _on_cpu_in_float32(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.device.type == "cpu"


def _exchange(module: nn.Module, kind: type[Layer], exchange: Callable[[Layer], nn.Module]) -> None:
    """Put something else in the place of every layer of a kind inside ``module``."""
    made: dict[Layer, nn.Module] = {}  # a layer may be used in several places
    for path, layer in list(module.named_modules(remove_duplicate=False)):
        if path and isinstance(layer, kind):
            if layer not in made:
                made[layer] = exchange(layer)
            module.set_submodule(path, made[layer])
