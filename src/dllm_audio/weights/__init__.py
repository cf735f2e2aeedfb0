"""Safe files: where weights are, what they hold, filling a module with them.

Backbones, encoders and checkpoints all read weights through this package, so that a hostile or
damaged folder is refused in one place: no code is unpickled, a shard is a plain file name inside
its folder, is there, and holds exactly the tensors that the index says.
"""

from ..files import current_folder, read_json, replace_files  # also their old place
from .files import check_inside, find_weight_files
from .filling import load_weights, shorten
from .hub import SNAPSHOT_PATTERNS, resolve_directory
from .packing import is_packed, packed, unpacked
from .pickles import check_tensors, read_pickle
from .placing import check_hub_options, load_through_transformers, single_device
from .settling import restore_buffers, retie
from .storing import check_rebuilt, stored
from .tensors import iter_weights, weight_shapes

__all__ = [
    "SNAPSHOT_PATTERNS",
    "check_hub_options",
    "check_inside",
    "check_rebuilt",
    "check_tensors",
    "current_folder",
    "find_weight_files",
    "is_packed",
    "iter_weights",
    "load_through_transformers",
    "load_weights",
    "packed",
    "read_json",
    "read_pickle",
    "replace_files",
    "resolve_directory",
    "restore_buffers",
    "retie",
    "shorten",
    "single_device",
    "stored",
    "unpacked",
    "weight_shapes",
]
