"""An address to listen at, and what clients call it."""

from __future__ import annotations

import socket

from ..errors import InvalidArgumentError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address.
        port: 0 takes a free one.

    Raises:
        InvalidArgumentError: an address that cannot be listened at.
    """
    found: socket.socket | None = None
    try:
        (family, _, _, _, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
        found.listen(128)
    except OSError as error:
        if found is not None:
            found.close()
        expected = "an address and a port that nobody listens at"
        raise InvalidArgumentError("host", expected, f"{host}:{port} ({error})") from error
    return found


def url_of(address: tuple[str, int]) -> str:
    """What a browser or a client is given.

    Example:
        >>> url_of(("::1", 8000))
        'http://[::1]:8000'
    """
    host, port = address
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
