"""Transcription from a prior: keep what is sure, mask what is in doubt, decode it with the audio.

A hypothesis of somebody else is mended in four steps, all of them with the same predictor:

1. *hear*: the model transcribes by itself, without seeing the hypothesis;
2. *compare*: words that both have in common are anchors; where they differ, a change is proposed,
   if the rule lets the words be touched and there are anchors enough;
3. *fill*: the hypothesis is the response, with masks in place of the words in doubt and of those
   that are missing, none in place of those that are too many, and is decoded again;
4. *judge*: a change is made where the model is surer of it than the prior was of its words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from ..errors import InvalidArgumentError
from ..modes import evaluating
from ..outputs import SamplerOutput
from ..protocols import CacheablePredictor, MaskPredictor
from ..samplers import Sampler, choose_among, from_dict
from ..samplers.state import first_end
from .comparing import Edit, compare
from .drafting import draft_from
from .hypothesis import Hypothesis, word_key
from .rescoring import rescore
from .rule import EditRule
from .spelling import Speller, spell
from .transcript import Row, Transcript

Given: TypeAlias = Hypothesis | Sequence[Hypothesis] | None
Streams: TypeAlias = Sequence[torch.Generator] | None


class PriorTranscriber:
    """Mends hypotheses of another recognizer with an audio-conditioned diffusion model.

    What the model may not touch comes out letter by letter as it came in; without a hypothesis the
    result is the model's own transcription.

    Args:
        model: an ``AudioDiffusionLM`` with a tokenizer.
        sampler: how the model transcribes by itself; None: its own.
        rule: whom to believe.
        num_samples: masks for the ELBO of each hypothesis of an n-best list.
        score_weight: of the prior's scores beside the ELBO.

    Raises:
        InvalidArgumentError: a rule or number that is none.

    Example:
        >>> from dllm_audio.toy import clips, small_model
        >>> clip = next(each for each in clips() if each.name == "four_digits")
        >>> transcriber = PriorTranscriber(small_model())
        >>> text = Hypothesis.from_text("Three, seven, five, nine.", [0.9, 0.9, 0.9, 0.4])
        >>> transcriber([clip.path], "What is said?", [text])[0].text
        'Three, seven, five, six.'
    """

    def __init__(
        self,
        model: Any,
        sampler: Sampler | None = None,
        rule: EditRule | None = None,
        *,
        num_samples: int = 16,
        score_weight: float = 1.0,
    ) -> None:
        if rule is not None and not isinstance(rule, EditRule):
            raise InvalidArgumentError("rule", "an EditRule or None", type(rule).__name__)
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise InvalidArgumentError("num_samples", "an integer >= 1", num_samples)
        if not isinstance(score_weight, int | float) or not 0 <= score_weight < math.inf:
            raise InvalidArgumentError("score_weight", "a number >= 0", score_weight)
        self.model, self.rule = model, EditRule() if rule is None else rule
        self.num_samples, self.score_weight = num_samples, score_weight
        self.sampler = model.default_sampler() if sampler is None else sampler
        described = self.sampler.to_dict()
        self._hearing = from_dict({**described, "trace": True})
        self._filling = _one_by_one(described)
        reserved = {*model.end_token_ids, model.backbone.config.mask_token_id}
        self._speller = Speller(model.tokenizer, reserved)

    def __call__(
        self,
        audio: Sequence[Any],
        prompts: str | Sequence[str],
        hypotheses: Sequence[Given],
        *,
        generator: Streams = None,
    ) -> list[Transcript]:
        """Mend a batch; a row's result does not depend on the others.

        Args:
            audio: one clip a row.
            prompts: the question for a transcript, one for all rows or one a row.
            hypotheses: one a row, or an n-best list a row with the best in front; None is the
                empty hypothesis.
            generator: for samplers that draw: one a row.

        Raises:
            AudioError: a clip that cannot be used.
            InvalidArgumentError: numbers that do not match, or something that is no hypothesis.
        """
        texts = [prompts] * len(audio) if isinstance(prompts, str) else list(prompts)
        for name, values in (("prompts", texts), ("hypotheses", hypotheses)):
            if len(values) != len(audio):
                raise InvalidArgumentError(name, f"one a clip ({len(audio)})", len(values))
        lists = [_as_list(given, f"hypotheses[{row}]") for row, given in enumerate(hypotheses)]
        found = [Transcript.untouched(several[0]) for several in lists]
        asked = [row for row, several in enumerate(lists) if self._may_help(several)]
        if not asked:
            return found
        with evaluating(self.model), torch.no_grad():
            predictor = self.model.prepare(
                audio=[audio[row] for row in asked], prompts=[texts[row] for row in asked]
            )
            streams = None if generator is None else [generator[row] for row in asked]
            made = self.mend(predictor, [lists[row] for row in asked], generator=streams)
        for row, transcript in zip(asked, made, strict=True):
            found[row] = transcript
        return found

    def mend(
        self,
        predictor: MaskPredictor,
        hypotheses: Sequence[Sequence[Hypothesis]],
        *,
        generator: Streams = None,
    ) -> list[Transcript]:
        """The same for a predictor whose prompts and recordings are prepared.

        Args:
            predictor: B rows.
            hypotheses: of every row at least one.
            generator: one a row.
        """
        output = self._hearing(predictor, generator=generator)
        filler = predictor.eos_token_id
        filler = min(self.model.end_token_ids) if filler is None else filler
        rows = [
            self._row(text, output, number, filler)
            for number, text in enumerate(self.model.decode(output))
        ]
        self._take_best(predictor, rows, hypotheses, filler)
        for row in rows:
            row.found = compare(row.hypothesis, row.heard, self.rule, self._speller.knows)
            agreed = row.found.agreement >= self.rule.agreement
            row.edits = list(row.found.edits) if agreed else []
            if len(row.tokens(row.edits)) >= self.sampler.gen_length:
                row.edits = []
        self._fill(predictor, rows, output)
        self._judge(predictor, rows)
        return [row.result(self.rule) for row in rows]

    def _may_help(self, several: Sequence[Hypothesis]) -> bool:
        """Whether asking the model can change anything."""
        if len(several) > 1 or not several[0].words:
            return True
        doubted = any(self.rule.doubts(word.confidence) for word in several[0].words)
        return doubted and len(self._tokens(several[0])) < self.sampler.gen_length

    def _tokens(self, hypothesis: Hypothesis, plain: bool = False) -> list[int]:
        speller = self._speller
        return speller.tokens(speller.forms([word.text for word in hypothesis.words], plain))

    def _row(self, text: str, output: SamplerOutput, number: int, filler: int) -> Row:
        """What the model heard, word by word."""
        ids: list[int] = output.tokens[number].tolist()
        length = first_end(ids, self.model.end_token_ids)
        heard = text.split()
        spelled = spell(self.model.tokenizer, heard)
        sure: list[float | None] = [None] * len(heard)
        probabilities = self.sampler.options.confidence == "max_probability"
        written = [token for tokens in spelled for token in tokens]
        if output.trace is not None and probabilities and written == ids[:length]:
            values, place = output.trace.confidence[number].tolist(), 0
            for word, tokens in enumerate(spelled):
                sure[word] = _product(values[place : place + len(tokens)])
                place += len(tokens)
        closing = [*dict.fromkeys([*ids[length : length + 1], filler])]
        confidence = float(output.confidence[number])
        spent = int(output.row_nfe[number])
        return Row(self._speller, text, heard, sure, confidence, closing, nfe=spent)

    def _take_best(
        self,
        predictor: MaskPredictor,
        rows: Sequence[Row],
        hypotheses: Sequence[Sequence[Hypothesis]],
        filler: int,
    ) -> None:
        """Of every n-best list the likeliest hypothesis, if the model understands the recording."""
        scored = [
            [n for n, each in enumerate(several) if len(several) > 1 and self._can_score(each)]
            for several in hypotheses
        ]
        ids = [
            [[*self._tokens(several[n], row.plain), *row.ends[:-1]] for n in numbers]
            for row, several, numbers in zip(rows, hypotheses, scored, strict=True)
        ]
        found: list[list[float]] = [[] for _ in rows]
        if any(ids):
            found = rescore(
                self._guided(predictor),
                ids,
                gen_length=self.sampler.gen_length,
                end_token_ids=[filler],
                num_samples=self.num_samples,
                generator=[torch.Generator().manual_seed(0) for _ in rows],
            )
        for row, several, numbers, elbos in zip(rows, hypotheses, scored, found, strict=True):
            row.hypothesis = several[0]
            row.nfe += self.num_samples * len(elbos)
            if not elbos:
                continue
            known = dict(zip(numbers, elbos, strict=True))
            row.scores = tuple(known.get(n) for n in range(len(several)))
            own = [several[n].score for n in numbers]
            weight = 0.0 if None in own else self.score_weight  # scores of some alone say nothing
            best = max(numbers, key=lambda n: known[n] + weight * (several[n].score or 0.0))
            if compare(several[best], row.heard, self.rule).agreement >= self.rule.agreement:
                row.hypothesis = several[best]

    def _can_score(self, hypothesis: Hypothesis) -> bool:
        spelled = all(self._speller.knows(word.text) for word in hypothesis.words)
        room = self.sampler.gen_length - len(self.model.end_token_ids)
        return spelled and len(self._tokens(hypothesis)) <= room

    def _fill(self, predictor: MaskPredictor, rows: Sequence[Row], output: SamplerOutput) -> None:
        """Decode the words in doubt again, with all the others in sight."""
        busy = [number for number, row in enumerate(rows) if row.edits]
        if not busy:
            return
        narrow, picked = _narrowed(predictor, busy)
        start = output.tokens[picked].clone()  # of rows that are not busy nothing is masked
        drafts = {}
        for number in busy:
            row = rows[number]
            shown = row.shown(row.edits)
            draft = draft_from(
                [text for text, _ in shown],
                [edit is not None for _, edit in shown],
                self.model.tokenizer,
                self.sampler.gen_length,
                mask_token_id=predictor.mask_token_id,
                end_token_ids=row.ends,
            )
            start[picked.index(number)] = draft.tokens.to(start.device)
            drafts[number] = [*zip([edit for _, edit in shown], draft.spans, strict=True)]
        filled = self._filling(narrow, start=start)
        if filled.trace is None:
            raise RuntimeError("a sampler that was asked for a trace gave none")
        for number, spans in drafts.items():
            row, place = rows[number], picked.index(number)
            row.nfe += int(filled.row_nfe[place])
            tokens, sure = filled.tokens[place].tolist(), filled.trace.confidence[place].tolist()
            refilled = []
            for index, edit in enumerate(row.edits):
                own = [span for of, span in spans if of == index]
                inside = slice(own[0][0], own[-1][1]) if own else slice(0)
                refilled += self._refilled(row, edit, tokens[inside], sure[inside])
            row.edits = refilled

    def _refilled(
        self, row: Row, edit: Edit, ids: Sequence[int], sure: Sequence[float]
    ) -> list[Edit]:
        """An edit with what was decoded in its place; none where that agrees with the prior."""
        words = self.model.tokenizer.decode(
            [token for token in ids if token not in self.model.end_token_ids],
            skip_special_tokens=True,
        ).split()
        chance = _product(sure)
        if chance is None or not all(self._speller.knows(word) for word in words):
            return []
        if [word_key(word) for word in words] == [word_key(word) for word in edit.before]:
            if len(words) == 1:
                row.kept[edit.start] = chance
            return []
        return [replace(edit, after=tuple(words), confidence=chance)]

    def _judge(self, predictor: MaskPredictor, rows: Sequence[Row]) -> None:
        """How sure the model is of each change: of the words, and of them rather than the prior's.

        The second is the probability of the whole text with all changes against that of the text
        without this one, which also judges how many words there are.
        """
        texts = {number: self._choices(row) for number, row in enumerate(rows) if row.edits}
        busy = [number for number in texts if rows[number].edits]
        if not busy:
            return
        narrow, picked = _narrowed(self._guided(predictor), busy)
        ends = self.model.end_token_ids
        reserved = {predictor.mask_token_id, *ends}
        filler = (next(token for token in range(len(reserved) + 1) if token not in reserved),)
        asked = [
            [*dict.fromkeys(texts[number])] if number in busy else [filler] for number in picked
        ]
        chosen = choose_among(narrow, asked, gen_length=self.sampler.gen_length, end_token_ids=ends)
        for number in busy:
            row, place = rows[number], picked.index(number)
            row.nfe += int(chosen.output.row_nfe[place])
            chances = dict(zip(asked[place], chosen.probabilities[place], strict=True))
            changed, *others = (chances[text] for text in texts[number])
            row.edits = [
                replace(edit, confidence=min(edit.confidence, _share(changed, other)))
                for edit, other in zip(row.edits, others, strict=True)
            ]

    def _choices(self, row: Row) -> list[tuple[int, ...]]:
        """The text with all changes, and without each of them; drops those that change nothing."""
        changed = row.tokens(row.edits)
        pairs = [
            (edit, row.tokens([other for other in row.edits if other is not edit]))
            for edit in row.edits
        ]
        room = range(1, self.sampler.gen_length)
        pairs = [(edit, text) for edit, text in pairs if len(text) in room and text != changed]
        row.edits = [edit for edit, _ in pairs] if len(changed) in room else []
        return [changed, *(text for _, text in pairs)]

    def _guided(self, predictor: MaskPredictor) -> MaskPredictor:
        guidance = self.sampler.options.guidance
        return predictor if guidance is None else guidance.wrap(predictor)


def _one_by_one(described: dict[str, Any]) -> Sampler:
    """What fills gaps: the surest token a pass, each seen by the next, its probability noted."""
    changes: dict[str, Any] = {
        "length": None, "commit": {"name": "threshold", "settings": {"tau": 1.0}}, "steps": None,
        "temperature": 0.0, "confidence": "max_probability", "eos": "allow", "eos_stop": False,
        "credit": None, "trace": True,
    }  # fmt: skip
    return from_dict({**described, **changes})


def _as_list(given: Given, name: str) -> list[Hypothesis]:
    several = [given] if isinstance(given, Hypothesis) else [*(given or [])]
    if not all(isinstance(each, Hypothesis) for each in several):
        expected = "a Hypothesis, a list of them, or None"
        raise InvalidArgumentError(name, expected, f"{given!r:.80}")
    return several or [Hypothesis()]


def _product(chances: Sequence[float]) -> float | None:
    """Probability of tokens of which each was decided with those before in sight."""
    found = math.prod(chances)
    return None if math.isnan(found) else min(found, 1.0)


def _share(chance: float, other: float) -> float:
    return chance / (chance + other) if chance + other > 0 else 0.0


def _narrowed(predictor: MaskPredictor, rows: list[int]) -> tuple[MaskPredictor, list[int]]:
    """The predictor of these rows alone, or of all where it cannot select some."""
    if isinstance(predictor, CacheablePredictor):
        return predictor.select(torch.tensor(rows, device=predictor.device)), rows
    return predictor, list(range(predictor.batch_size))
