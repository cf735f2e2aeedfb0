"""A small world of sounds with questions, made on the fly; nothing to download.

``small_model()`` is the trained model that ships with the package, ``clips()`` are clips of voices
that it never heard, with questions and answers.

``ToyDataset(split, size, seed)`` is a sequence of ``ToyRecord``: a clip (float32, 16 kHz, at most
4 s) with ``question``, ``prompt`` (what a model is given), ``answer`` (what it should
reply, in words), ``choices`` (or None), ``family`` (one of ``FAMILIES``), ``kind``
(``semantic``: what is said; ``acoustic``: how it sounds; ``mixed``), ``split`` (``train`` or
``heldout``) and ``scene`` (all facts).  Row ``i`` depends on ``seed``, ``split`` and ``i`` only.

The pieces: ``WordBank`` (spoken words of synthetic voices), ``SceneMaker`` (draws clips with known
facts), ``ask`` (words a question about a clip), ``ASR`` and ``QA`` (the lessons of the toy
curriculum), ``HumanDigits`` (recordings of people, from a folder of your own).
"""

from .bank import SPLITS, WordBank, embedded_bank
from .dataset import ToyDataset
from .human import HumanDigit, HumanDigits
from .lessons import ASR, QA, Lesson
from .questions import (
    ACOUSTIC_FAMILIES,
    FAMILIES,
    SEMANTIC_FAMILIES,
    ToyRecord,
    ask,
    askable,
    kind_of,
)
from .scenes import MAX_SECONDS, Others, Scene, SceneMaker, Span, Utterance
from .shipped import Clip, Question, clips, small_model
from .vocabulary import COMMANDS, DIGITS, NUMBERS, UNITS, UNKNOWN, WORDS

__all__ = [
    "ACOUSTIC_FAMILIES",
    "ASR",
    "COMMANDS",
    "DIGITS",
    "FAMILIES",
    "MAX_SECONDS",
    "NUMBERS",
    "QA",
    "SEMANTIC_FAMILIES",
    "SPLITS",
    "UNITS",
    "UNKNOWN",
    "WORDS",
    "Clip",
    "HumanDigit",
    "HumanDigits",
    "Lesson",
    "Others",
    "Question",
    "Scene",
    "SceneMaker",
    "Span",
    "ToyDataset",
    "ToyRecord",
    "Utterance",
    "WordBank",
    "ask",
    "askable",
    "clips",
    "embedded_bank",
    "kind_of",
    "small_model",
]
