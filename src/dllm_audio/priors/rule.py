"""Whom to believe: when a model may change a word that a prior has heard."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from ..errors import InvalidArgumentError


@dataclass(frozen=True)
class EditRule:
    """When a word of the prior gives way to what the model hears.

    A change is made where the model is surer of it than the prior is of the words it would replace,
    and where the model has shown that it understands the recording: it writes at least a part of
    the prior's words itself when it does not see them.

    Args:
        keep: words of at least this confidence are never changed, and nothing is put between two
            of them; the model is not even asked about a text of such words alone.
        unknown: what words without a confidence count as.  It is what the most accurate preset for
            transcripts commits at: to change such a word a model must be as sure as to write it.
        threshold: what the model's confidence must exceed whatever the prior says: that at which
            samplers commit.
        margin: how much surer than the prior the model must be.
        agreement: share of the words (of the prior's, or of those the model hears, whichever are
            more) that both must have in common; else the text stays as it is.

    Raises:
        InvalidArgumentError: a number outside [0, 1].

    Example:
        >>> rule = EditRule()
        >>> rule.allows(0.8, bar=0.4), rule.allows(0.8, bar=0.9)
        (True, False)
    """

    keep: float = 0.99
    unknown: float = 0.95
    threshold: float = 0.9
    margin: float = 0.0
    agreement: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise InvalidArgumentError(field.name, "a number in [0, 1]", f"{value!r:.80}")

    def confidence(self, known: float | None) -> float:
        """What a word's confidence counts as."""
        return self.unknown if known is None else known

    def doubts(self, known: float | None) -> bool:
        """Whether a word of this confidence may be changed at all."""
        return self.confidence(known) < self.keep

    def bar(self, known: float | None) -> float:
        """What the model's confidence must exceed to change a word of this confidence."""
        return max(self.confidence(known), self.threshold)

    def allows(self, confidence: float, bar: float) -> bool:
        """Whether the model is surer than the prior.

        Args:
            confidence: of the model in a change.
            bar: see :meth:`bar`.
        """
        return confidence > bar + self.margin

    def to_config(self) -> dict[str, float]:
        """The numbers by name, as plain JSON values."""
        return asdict(self)
