"""Words as a model's tokenizer spells them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ..protocols import Tokenizer
from .hypothesis import word_key


def spell(tokenizer: Tokenizer, words: Sequence[str]) -> list[list[int]]:
    """Tokens of every word as it stands in a text: behind a space, but for the first.

    Example:
        >>> from dllm_audio.toy import small_model
        >>> tokenizer = small_model().tokenizer
        >>> [tokenizer.decode(ids) for ids in spell(tokenizer, ["turn", "left"])]
        ['turn', ' left']
    """
    return [
        list(tokenizer.encode(f" {word}" if place else word, add_special_tokens=False))
        for place, word in enumerate(words)
    ]


def can_spell(tokenizer: Tokenizer, word: str, reserved: Collection[int] = ()) -> bool:
    """Whether a tokenizer gives a word back as it was, with ordinary tokens alone.

    Args:
        tokenizer: of the model.
        word: without spaces.
        reserved: ids that no word may hold, such as the mask and the ends.

    Example:
        >>> from dllm_audio.toy import small_model
        >>> [can_spell(small_model().tokenizer, word) for word in ("seven", "<|eot_id|>")]
        [True, False]
    """
    ids = list(tokenizer.encode(f" {word}", add_special_tokens=False))
    back = tokenizer.decode(ids, skip_special_tokens=True)
    return bool(ids) and not set(ids) & set(reserved) and back.strip() == word


class Speller:
    """Shows a model words in the form that it knows.

    Args:
        tokenizer: of the model.
        reserved: ids that no word may hold: the mask and the ends.
    """

    def __init__(self, tokenizer: Tokenizer, reserved: Collection[int]) -> None:
        self._tokenizer, self._reserved = tokenizer, frozenset(reserved)

    def form(self, word: str, plain: bool = False) -> str | None:
        """A word as the model is shown it; None where it cannot spell it.

        As it stands or, where the model writes so or knows no other, plain: small letters without
        punctuation.  What is compared must not differ by style.
        """
        forms = [word_key(word), word] if plain else [word, word_key(word)]
        return next((form for form in forms if self._knows(form)), None)

    def knows(self, word: str) -> bool:
        """Whether a word can be spelled in some form."""
        return self.form(word) is not None

    def _knows(self, form: str) -> bool:
        return bool(form) and can_spell(self._tokenizer, form, self._reserved)

    def forms(self, words: Iterable[str], plain: bool = False) -> list[str]:
        """The forms of words, without those that cannot be spelled."""
        return [form for word in words if (form := self.form(word, plain)) is not None]

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of words that stand one behind the other."""
        return [token for ids in spell(self._tokenizer, texts) for token in ids]
