"""Records, their validation, and batches of them."""

from .arrow import ArrowRows, read_arrow
from .audio_check import CheckedAudio, check_audio
from .collate import IGNORED, DiffusionCollator, EosPadding, PreferenceCollator
from .dataset import RecordDataset, number_apart
from .features import (
    EncoderFeatures,
    StoredAudio,
    content_key,
    encoder_key,
    stored_encoder_output,
)
from .instructions import ASR_INSTRUCTIONS, asr_instruction
from .order import EpochOrder
from .position_check import PositionLimit, check_positions
from .positions import audio_positions
from .records import AudioSource, Example, PreferencePair, Record
from .rows import ExampleParser, PreferenceParser, TranscriptionParser, parse_rows

__all__ = [
    "ASR_INSTRUCTIONS",
    "IGNORED",
    "ArrowRows",
    "AudioSource",
    "CheckedAudio",
    "DiffusionCollator",
    "EncoderFeatures",
    "EosPadding",
    "EpochOrder",
    "Example",
    "ExampleParser",
    "PositionLimit",
    "PreferenceCollator",
    "PreferencePair",
    "PreferenceParser",
    "Record",
    "RecordDataset",
    "StoredAudio",
    "TranscriptionParser",
    "asr_instruction",
    "audio_positions",
    "check_audio",
    "check_positions",
    "content_key",
    "encoder_key",
    "number_apart",
    "parse_rows",
    "read_arrow",
    "stored_encoder_output",
]
