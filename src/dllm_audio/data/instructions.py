"""Instructions for speech recognition, so that a model learns the task and not one sentence."""

from __future__ import annotations

import random

ASR_INSTRUCTIONS: tuple[str, ...] = (
    "Please transcribe the audio to text.",
    "Transcribe the speech in this clip.",
    "Write down what is said in the recording.",
    "What does the speaker say?",
    "Convert the spoken words into text.",
    "Give a word-for-word transcript of the audio.",
    "Turn this speech into writing.",
    "Which words are spoken in this recording?",
    "Provide the transcript of this audio.",
    "Listen to the clip and type out what you hear being said.",
    "Put the speech into written form.",
    "What is being said here?",
    "Type the sentence that is spoken in the audio.",
    "Produce a verbatim transcription of the speaker's words.",
    "Recognize the speech and output it as text.",
    "Note down every word that the speaker says.",
    "Make a text version of what is said in the clip.",
    "Please write out the spoken content of this recording.",
    "Tell me exactly what the person says.",
    "Repeat in writing what is said.",
    "Spell out the speech of this audio as text.",
    "I need the transcript of this recording.",
    "Capture the spoken sentence in text.",
    "Render the audio as text, word by word.",
    "What are the words in this speech recording?",
)


def asr_instruction(row: int, seed: int = 0) -> str:
    """The instruction of one row: always the same for the same row and seed.

    Example:
        >>> asr_instruction(3) == asr_instruction(3)
        True
    """
    return random.Random(f"{seed}:{row}").choice(ASR_INSTRUCTIONS)
