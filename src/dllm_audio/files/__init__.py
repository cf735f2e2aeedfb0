"""The one place that writes files atomically, keeps JSON Lines, and reads JSON of strangers."""

from .folders import current_folder, replace_files
from .parsing import parse_json, parse_json_list
from .reading import open_regular, read_json, read_json_lines, read_text
from .rows import read_rows
from .writing import append_json_line, flush, json_line, replacing, write_json, write_text

__all__ = [
    "append_json_line",
    "current_folder",
    "flush",
    "json_line",
    "open_regular",
    "parse_json",
    "parse_json_list",
    "read_json",
    "read_json_lines",
    "read_rows",
    "read_text",
    "replace_files",
    "replacing",
    "write_json",
    "write_text",
]
