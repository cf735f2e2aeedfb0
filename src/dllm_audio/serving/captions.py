"""Texts with times as subtitles: SubRip (``.srt``) and WebVTT (``.vtt``)."""

from __future__ import annotations

from collections.abc import Iterable

Caption = tuple[float, float, str]  # start and end in seconds, text


def clock(seconds: float, separator: str = ".") -> str:
    """A time as ``HH:MM:SS.mmm``.

    Example:
        >>> clock(3725.0625, ",")
        '01:02:05,062'
    """
    milliseconds = int(seconds * 1000 + 1e-6)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{separator}{rest % 1000:03d}"


def subtitle(number: int, start: float, end: float, text: str) -> str:
    """One entry of SubRip subtitles.

    Example:
        >>> print(subtitle(1, 0.0, 2.5, "three one"))
        1
        00:00:00,000 --> 00:00:02,500
        three one
        <BLANKLINE>
    """
    return f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{text}\n"


def srt(captions: Iterable[Caption]) -> str:
    """SubRip subtitles; captions without text are left out."""
    spoken = [caption for caption in captions if caption[2]]
    return "\n".join(subtitle(number, *caption) for number, caption in enumerate(spoken, 1))


def vtt(captions: Iterable[Caption]) -> str:
    """WebVTT subtitles; captions without text are left out.

    Example:
        >>> print(vtt([(0.0, 2.5, "three one")]))
        WEBVTT
        <BLANKLINE>
        00:00:00.000 --> 00:00:02.500
        three one
        <BLANKLINE>
    """
    spoken = [caption for caption in captions if caption[2]]
    # An arrow inside of a text would look like a time.
    cues = [
        f"{clock(start)} --> {clock(end)}\n{text.replace('-->', '->')}\n"
        for start, end, text in spoken
    ]
    return "\n".join(["WEBVTT\n", *cues])
