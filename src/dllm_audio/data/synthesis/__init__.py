"""Synthetic training data: questions about clips, and wrong answers for preference pairs.

Any callable from a prompt to a completion writes them; rules do where no model is at hand.
"""

from .generators import EndpointGenerator, TextGenerator, TransformersGenerator
from .makers import (
    AnswerCorrupter,
    ClipFacts,
    Corruption,
    GeneratedCorruptions,
    GeneratedQuestions,
    QuestionAnswer,
    QuestionMaker,
)
from .pipeline import Synthesized, synthesize_preferences, synthesize_questions
from .rules import RuleCorruptions, RuleQuestions

__all__ = [
    "AnswerCorrupter",
    "ClipFacts",
    "Corruption",
    "EndpointGenerator",
    "GeneratedCorruptions",
    "GeneratedQuestions",
    "QuestionAnswer",
    "QuestionMaker",
    "RuleCorruptions",
    "RuleQuestions",
    "Synthesized",
    "TextGenerator",
    "TransformersGenerator",
    "synthesize_preferences",
    "synthesize_questions",
]
