"""Exceptions of the library.

Everything a caller can cause raises one of these, with a message that names the argument, what
was expected and what came.  ``assert`` is reserved for the library's own bugs.
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """What somebody else's error says, in one line of bounded length.

    Example:
        >>> one_line(ValueError("dropout:\\n    not a number"))
        'dropout: not a number'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    # What is long is a name in the middle; what and why stand at the ends.
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-195:]}"


class DllmAudioError(Exception):
    """Base class: catch this to catch every error that the library raises on purpose."""


class InvalidArgumentError(DllmAudioError, ValueError):
    """An argument has a value that the call cannot accept.

    Args:
        argument: name of the argument, as the caller wrote it.
        expected: what would have been accepted.
        got: what came instead.

    Example:
        >>> raise InvalidArgumentError("steps", "an integer >= 1", 0)
        Traceback (most recent call last):
        ...
        dllm_audio.errors.InvalidArgumentError: steps: expected an integer >= 1, got 0
    """

    def __init__(self, argument: str, expected: str, got: object) -> None:
        super().__init__(argument, expected, got)
        self.argument = argument
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.got}"


class ShapeError(InvalidArgumentError):
    """A tensor has the wrong rank or sizes."""


class NonFiniteLogitsError(DllmAudioError, ArithmeticError):
    """The predictor returned NaN; decoding on would produce garbage."""

    def __init__(self, row: int, nfe: int) -> None:
        super().__init__(row, nfe)  # the arguments themselves: pickling calls with them again
        self.row = row
        self.nfe = nfe

    def __str__(self) -> str:
        return f"predictor: expected finite logits, got NaN in row {self.row}, pass {self.nfe}"


class AudioError(DllmAudioError, ValueError):
    """Base class of everything that can be wrong with a piece of audio."""


class AudioDecodeError(AudioError):
    """The source cannot be read or is not audio in a known format."""


class EmptyAudioError(AudioError):
    """The source decodes to zero samples."""


class NonFiniteAudioError(AudioError):
    """The waveform holds NaN or infinite samples."""


class AudioTooLongError(AudioError):
    """The clip is longer than the encoder's window and the caller did not ask to crop it."""


class CheckpointError(DllmAudioError):
    """A checkpoint is missing, incomplete, damaged or does not fit the model."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint could run code or read outside its folder when loaded; it is refused."""


class DataError(DllmAudioError, ValueError):
    """A row of a data set is not usable; the message names the row and the field."""


class MissingDependencyError(DllmAudioError, ImportError):
    """An optional package is needed for this call; the message says how to install it."""

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        super().__init__(package, purpose, extra)
        self.package = package
        self.purpose = purpose
        self.extra = extra

    def __str__(self) -> str:
        extra, package = self.extra, self.package
        install = f"pip install 'dllm-audio[{extra}]'" if extra else f"pip install {package}"
        return f"{package} is needed for {self.purpose}; install it with: {install}"


class TrainingError(DllmAudioError):
    """A training run cannot go on; what it saved before is kept and named in the message."""
