"""From chat text and audio to a predictor over response positions."""

from .condition import condition
from .predictor import ConditionedPredictor
from .splice import SplicedPrompt, splice
from .template import ChatTemplate

__all__ = ["ChatTemplate", "ConditionedPredictor", "SplicedPrompt", "condition", "splice"]
