"""The words that the grammar of answers knows."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(" "))


OPENERS = frozenset("([{<")
CLOSERS = frozenset(")]}>")
# Marks that set a letter off from what follows; "#", "%" and their like belong to it.
MARKS = frozenset(".,:;!?/|&+=-~") | OPENERS
ARTICLES = frozenset(("a", "an", "the"))
BE = _words("is was are were be been being 's seems appears looks sounds remains")
MODALS = _words("would should must could may might can will 'd 'll")

OPTION = _words("option choice letter selection")
OPTIONS = OPTION | {"options", "choices"}
ANSWER = _words("answer ans solution")
# "The correct one", "the best option": as good as "the answer".
PRAISE = _words("correct right best final chosen")
CHOOSE = _words("choose chose chosen select selected pick picked prefer")
CHOOSE_WITH = {
    "with": _words("go goes going went"),
    "for": _words("opt opting opted vote go going settle"),
    "on": _words("settle settling settled"),
}
SUPPOSE = _words("think believe say guess suppose assume")
SUBJECTS = _words("it this that")
# What may stand between a cue and the choice that it announces.
FILLERS = (
    _words(
        "to question these given following with for on it this that one most more likely probably "
        "definitely clearly certainly obviously simply just therefore thus so as either both"
    )
    | {":", "=", "-", "\n", "*", "#"}
    | OPENERS
    | CLOSERS
    | {"the"}  # but no "a": it may be a letter
    | BE
    | MODALS
    | OPTION
    | PRAISE
)
# What may stand before the choice that an answer opens with.
LEADING = (
    _words("sure okay ok yes well so hence therefore thus , ! : . - \n * #")
    | OPENERS
    | CLOSERS
    | OPTIONS
)

# Words that cannot follow an article: the letter before them is no English word.
AFTER_LABEL = _words(
    "because since as due for in on at by from with and or but nor not so if when while whereas "
    "which that though although given based here there then than rather instead over i too it "
    "also option the"
)
AFTER_TEXT = _words("because since as but due")
VERBS = BE | _words("fits matches would should could has describes")
# "I would", "I think": what follows a letter I is more often a verb of the first person.
AFTER_I = _words("would should could must then also has too it that was as")

CORRECT = _words(
    "correct right true answer best fits matches match accurate appropriate suitable fit"
)
WRONG = _words(
    "wrong incorrect false unlikely impossible excluded eliminated inaccurate invalid ruled "
    "absent missing distractor"
)
LIKELY = _words("likely probable plausible suitable appropriate accurate fitting convincing")
# Before these, or a colon, they tell what follows: "the wrong answer is X", "Incorrect: X".
NAMED_WRONG = ANSWER | OPTIONS | _words("answers one ones")
# Between a choice and the word that judges it.
JUDGING = (
    BE
    | MODALS
    | _words(
        "the my most more likely very probably definitely clearly certainly obviously really "
        "indeed here only also just to therefore option choice has have does do did"
    )
    | OPENERS
    | CLOSERS
)
DO = frozenset(("do", "does", "did"))
NOT = _words(
    "not never neither nor cannot cant without unlike except doubt doubtful hardly barely scarcely "
    "lack lacks lacking exclude excludes excluding eliminate eliminates eliminating avoid avoiding "
    "reject rejecting discard discarding unlikely"
)
# Two words that deny what follows them.
NOT_PAIRS = frozenset(
    (
        *(("instead", "of"), ("far", "from"), ("apart", "from"), ("aside", "from")),
        *((word, "than") for word in ("rather", "other", *LIKELY)),
        *((word, likely) for word in ("less", "least") for likely in LIKELY),
        *(("rule", "out"), ("ruled", "out"), ("ruling", "out"), ("opposed", "to")),
        *(("anything", "but"), ("everything", "but"), ("absence", "of")),
    )
)
# What denies elsewhere, and not here.
NOT_UNDONE = frozenset((("no", "doubt"), ("not", "unlikely")))
# Directly in front of a choice they say that it is another one.
NOT_IT = _words("no over under above below beyond exceeding")
# Behind a choice, with a verb: "X is not", "X is hardly".
NOT_BEHIND = _words("not never hardly barely scarcely doubtful")
CANNOT = frozenset(("cannot", "cant"))
# "X or more" is no X.
OR_SO = _words("more less fewer higher lower above below later earlier greater")
# What follows them up to the next comma is granted, and not the answer.
CONCEDES = _words("although though while whereas if unless")
# "No, X": the answer before was none.
CORRECTS = _words("no wait actually sorry correction")
NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
SCALES = _words("hundred thousand million billion dozen point half")
# What ends the reach of a negation, besides the end of a sentence or a part of it.
END_OF_NOT = _words(". , ; ! ? \n but so therefore hence thus because since although though")
SENTENCE_MARKS = frozenset(".:;!?\n")
ALTERNATIVES = frozenset(("or", "and", "/", "&", "+", "|", "nor", "then", "plus"))
MUSICAL = frozenset(("minor", "major", "flat", "sharp"))  # "A minor" starts with no article


def denies(word: str) -> bool:
    """Whether a word is a negation: ``not``, ``never``, ``isn't`` ..."""
    return word in NOT or word.endswith("n't")
