"""Files that are no sound in a known format, told by how they begin, and what to do with them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

HEAD_BYTES = 512  # of a file, by which it is known

_CONVERTIBLE = (
    (rb"....ftyp(?:M4A|M4B|M4P)", "MPEG-4 audio (M4A)"),
    (rb"....ftypqt", "a QuickTime film"),
    (rb"....ftyp3g", "a 3GPP recording"),
    (rb"....ftyp", "an MP4 file"),
    (rb"....(?:moov|mdat|wide|free)", "a QuickTime film"),
    (rb"\x1a\x45\xdf\xa3[^\x00]{0,3}.{0,60}?webm", "a WebM file"),
    (rb"\x1a\x45\xdf\xa3", "a Matroska file"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media audio (WMA)"),
    (rb"#!AMR", "an AMR recording"),
    (rb"(?:\x02)?#!SILK", "a SILK recording"),
    (rb"#!EVRC|#!SMV", "a recording of a phone"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "AAC audio"),
    (rb"ADIF", "AAC audio"),
    (rb"MAC ", "Monkey's Audio (APE)"),
    (rb"wvpk", "WavPack audio"),
    (rb"TTA[12]", "True Audio (TTA)"),
    (rb"MPCK|MP\+", "Musepack audio"),
    (rb"OFR ", "OptimFROG audio"),
    (rb"DSD |FRM8", "DSD audio"),
    (rb"\.RMF|\.ra\xfd", "RealAudio"),
    (rb"\x0b\x77", "Dolby Digital audio (AC-3)"),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80", "DTS audio"),
    (rb"FLV\x01", "a Flash film"),
    (rb"RIFF....AVI ", "an AVI film"),
    (rb"\x00\x00\x01[\xba\xb3]", "an MPEG film"),
    (rb"G.{187}G.{187}G", "an MPEG transport stream"),
    (
        # Neither PCM, float, A-law, mu-law, ADPCM nor GSM.
        rb"RIFF....WAVE.{0,200}?fmt ....(?![\x01\x02\x03\x06\x07\x11\x31]\x00|\xfe\xff)",
        "WAV with a codec that is not read",
    ),
    (rb"OggS.{24,40}\x7fFLAC", "FLAC in Ogg"),
    (rb"OggS.{24,40}(?:Speex   |\x80theora|fishead)", "Ogg with a codec that is not read"),
)
_OTHER = (
    (rb"version https://git-lfs", "a pointer of Git LFS: git lfs pull gets the file"),
    (rb"\s*<(?:!DOCTYPE|html|\?xml|[a-z]+[ >])", "a web page or XML, not a sound"),
    (rb"MThd", "MIDI notes, which hold no sound"),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive; unpack it first"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "compressed data; unpack it first"),
    (rb".{257}ustar", "a tar archive; unpack it first"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture"),
    (rb"%PDF", "a PDF document"),
)
_MARKS = [
    (re.compile(mark, re.DOTALL), kind, convertible)
    for marks, convertible in ((_CONVERTIBLE, True), (_OTHER, False))
    for mark, kind in marks
]


def foreign(head: bytes, name: str) -> str | None:
    """What a file is that cannot be decoded, and what to do with it; None: not known.

    Args:
        head: its first :data:`HEAD_BYTES` bytes.
        name: of the file, for the command that converts it.

    Example:
        >>> foreign(b"#!AMR\\n", "talk.amr")
        'an AMR recording; convert it first: ffmpeg -i talk.amr talk.wav'
    """
    for mark, kind, convertible in _MARKS:
        if mark.match(head):
            return f"{kind}; convert it first: {_command(name)}" if convertible else kind
    return None


def _command(name: str) -> str:
    target = Path(name).with_suffix(".wav").name if Path(name).name else "sound.wav"
    if target == Path(name).name:
        target = f"{Path(name).stem}_converted.wav"
    return f"ffmpeg -i {shlex.quote(name)} {shlex.quote(target)}"
