"""Evaluation mode for a while, for several threads at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

from torch import nn

# Modules that go back to training mode, and how many still need them in evaluation mode.
_users: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_lock = Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module has its own mode again.

    Blocks may overlap, nested or in several threads: a module trains again when the last one that
    holds it ends, whichever model it was reached through.

    Args:
        model: with all its modules.

    Example:
        >>> layer = nn.Dropout(0.5)
        >>> with evaluating(layer):
        ...     print(layer.training)
        False
        >>> layer.training
        True
    """
    with _lock:
        held = [module for module in model.modules() if module.training or module in _users]
        for module in held:
            _users[module] = _users.get(module, 0) + 1
            module.training = False
    try:
        yield
    finally:
        with _lock:
            for module in held:
                _users[module] -= 1
                if not _users[module]:
                    del _users[module]
                    module.training = True
