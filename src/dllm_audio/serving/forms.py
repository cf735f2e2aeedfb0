"""Multipart forms (RFC 7578) out of a body that is in memory already."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .refusals import ApiError, short

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MOST_PARTS = 64
_LONGEST_TEXT = 1 << 16  # bytes

# What is wrong with a stranger's form is told to the stranger.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def read_form(content_type: str, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """Texts and files of a form.

    Args:
        content_type: the header, with the boundary.
        body: whole.

    Raises:
        ApiError: no form, one that ends early, or a name that comes twice.

    Example:
        >>> part = b'Content-Disposition: form-data; name="model"\\r\\n\\r\\nsmall'
        >>> body = b"--b\\r\\n" + part + b"\\r\\n--b--"
        >>> read_form("multipart/form-data; boundary=b", body)
        ({'model': 'small'}, {})
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        got = short(content_type.partition(";")[0])
        raise ApiError(415, f"content-type: expected multipart/form-data, got {got}")
    parts = _Parts()
    try:
        parser = MultipartParser(options.get(b"boundary", b""), parts.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise _no_form(short(str(error))) from error
    if not parts.ended:
        raise _no_form("one that ends early")
    return parts.texts, parts.files


def _no_form(got: str) -> ApiError:
    return ApiError(400, f"body: expected a whole form, got {got}", "body", "invalid_form")


class _Parts:
    """What the parser tells, part by part."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.ended = False
        self._count = 0
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._data: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise _no_form(f"more than {_MOST_PARTS} parts")
        self._headers, self._data = {}, []

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _on_part(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise _no_form("a part without a name")
        if name in self.texts or name in self.files:
            raise ApiError(400, f"{short(name)}: expected once, got it twice", name[:80])
        data = b"".join(self._data)
        if b"filename" in options:
            self.files[name] = data
            return
        if len(data) > _LONGEST_TEXT:
            expected = f"a text of at most {_LONGEST_TEXT} bytes"
            raise ApiError(400, f"{short(name)}: expected {expected}, got {len(data)}", name[:80])
        try:
            self.texts[name] = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ApiError(400, f"{short(name)}: expected UTF-8", name[:80]) from None

    def _on_end(self) -> None:
        self.ended = True
