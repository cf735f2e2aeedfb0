"""Transcription from a prior: somebody else's hypothesis, mended where the model is surer."""

from .alignment import align
from .comparing import Comparison, Edit, compare
from .drafting import DraftedHypothesis, draft_from
from .hypothesis import Hypothesis, Word, word_key
from .reading import HypothesisFile, share_out
from .rescoring import rescore
from .rule import EditRule
from .spelling import Speller, can_spell, spell
from .transcriber import PriorTranscriber
from .transcript import Transcript
from .whisper import WhisperPrior, load_whisper

__all__ = [
    "Comparison",
    "DraftedHypothesis",
    "Edit",
    "EditRule",
    "Hypothesis",
    "HypothesisFile",
    "PriorTranscriber",
    "Speller",
    "Transcript",
    "WhisperPrior",
    "Word",
    "align",
    "can_spell",
    "compare",
    "draft_from",
    "load_whisper",
    "rescore",
    "share_out",
    "spell",
    "word_key",
]
