"""From chat text and audio to a predictor over response positions."""

from ..tokenizer import load_tokenizer
from .condition import condition
from .conversations import Conversation, PlainConversation, read_conversation
from .predictor import ConditionedPredictor
from .splice import SplicedPrompt, splice
from .template import (
    AUDIO_INTRODUCTION,
    AUDIO_PLACEHOLDER,
    SYSTEM_PROMPT,
    TRAINING_SYSTEM_PROMPT,
    ChatTemplate,
    PromptBatch,
    TrainingExample,
)
from .tokens import left_pad, split_target

__all__ = [
    "AUDIO_INTRODUCTION",
    "AUDIO_PLACEHOLDER",
    "SYSTEM_PROMPT",
    "TRAINING_SYSTEM_PROMPT",
    "ChatTemplate",
    "ConditionedPredictor",
    "Conversation",
    "PlainConversation",
    "PromptBatch",
    "SplicedPrompt",
    "TrainingExample",
    "condition",
    "left_pad",
    "load_tokenizer",
    "read_conversation",
    "splice",
    "split_target",
]
