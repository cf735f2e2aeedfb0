"""Stage 2: the language model learns questions and answers from described clips."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from asking import Answering
from described import Describer, draw_drill, draw_layout, draw_record
from fitting import Schedule, fit, load_averages
from hints import Hints
from make_tokenizer import make_tokenizer
from settings import RESPONSE_LENGTH, build_backbone
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from dllm_audio import ChatTemplate, LLaDA, LowConfidenceSampler, condition
from dllm_audio.toy import FAMILIES

DRILL = "drill"
HINT_WEIGHT = 0.3
# The sequences of spoken words take longest to learn, and then whether a word is among them.
FAMILY_WEIGHTS = {
    **dict.fromkeys(FAMILIES, 1.0),
    "digits": 7.0,
    "describe": 4.0,
    "contains": 8.0,
    "position": 3.0,
    "command": 2.0,
    "count": 2.0,
    "event": 4.0,
    "unknown": 2.0,
    DRILL: 5.0,
}


def train_lm(
    tokenizer: PreTrainedTokenizerFast, folder: Path, steps: int, batch_size: int = 32
) -> LLaDA:
    """Train from nothing, or go on from ``folder``."""
    backbone = new_lm(tokenizer)
    # What a word looks like is settled: the adapters can learn to name words meanwhile.
    backbone.wte.requires_grad_(False)
    answering, describer = Answering(backbone, tokenizer), Describer(tokenizer)
    template, hints = ChatTemplate(tokenizer), Hints(backbone, tokenizer)
    share = np.array(list(FAMILY_WEIGHTS.values())) / sum(FAMILY_WEIGHTS.values())

    def step_function(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([1, step])
        layout = draw_layout(rng)
        families = rng.choice(list(FAMILY_WEIGHTS), batch_size, p=share)
        records = [
            draw_drill(rng) if family == DRILL else draw_record(rng, str(family), layout)
            for family in families
        ]
        slots = describer.slots([record.scene for record in records], rng)
        with torch.autocast("cpu", torch.bfloat16):
            audio = describer.embed(backbone, slots, rng)
            answers = answering(audio, records, torch.Generator().manual_seed(step))
            counts, named, kinds = hints(
                slots, records, template([record.prompt for record in records])
            )
        shown = {"answers": answers.item(), "counts": counts.item(), "named": named.item()}
        return answers + HINT_WEIGHT * (counts + named + kinds), shown

    both = nn.ModuleDict({"backbone": backbone, "hints": hints})
    fit("lm", both, step_function, Schedule(steps, 2e-3, warmup=200), folder)
    print(report(backbone, tokenizer))
    return backbone


def new_lm(tokenizer: PreTrainedTokenizerFast) -> LLaDA:
    """The language model before it has learned anything; its word embeddings are final."""
    torch.manual_seed(0)
    backbone = build_backbone(tokenizer)
    start_by_copying(backbone, tokenizer)
    return backbone


def load_lm(folder: Path, tokenizer: PreTrainedTokenizerFast) -> LLaDA:
    """The language model that :func:`train_lm` left in a folder."""
    backbone, prefix = new_lm(tokenizer), "backbone."
    saved = load_averages(folder / "lm.pt").items()
    own = {name.removeprefix(prefix): w for name, w in saved if name.startswith(prefix)}
    missing = backbone.load_state_dict(own, strict=False).missing_keys
    if set(missing) - {"wte.weight"}:
        raise ValueError(f"{folder / 'lm.pt'} lacks {missing}")
    return backbone


@torch.no_grad()
def start_by_copying(backbone: LLaDA, tokenizer: PreTrainedTokenizerFast) -> None:
    """Initial embeddings and output head under which a word that is attended to can be said.

    A word with and without a leading space starts from nearly the same embedding, and the output
    head from the embeddings, so that copying is learned once and not word by word.  Embeddings are
    as large as what the adapters' layer norm puts out.
    """
    std = 0.7
    embeddings = torch.nn.init.normal_(backbone.wte.weight, std=std)
    vocabulary = tokenizer.get_vocab()
    for token, index in vocabulary.items():
        bare = vocabulary.get(token.removeprefix("Ġ"))
        if token.startswith("Ġ") and bare is not None:
            embeddings[index].mul_(0.3).add_(0.95 * embeddings[bare])
    backbone.ff_out.weight.copy_(embeddings * (0.1 / std))


@torch.no_grad()
def report(backbone: LLaDA, tokenizer: PreTrainedTokenizerFast, rows: int = 60) -> dict[str, float]:
    """Share of exact answers by family about described clips never seen in training."""
    backbone.eval()
    template, describer = ChatTemplate(tokenizer), Describer(tokenizer)
    sampler = LowConfidenceSampler(steps=RESPONSE_LENGTH, gen_length=RESPONSE_LENGTH)
    rng, right = np.random.default_rng(2**31), {}
    for family in FAMILIES:
        records = [draw_record(rng, family) for _ in range(rows)]
        prompts = template([record.prompt for record in records])
        predictor = condition(
            backbone,
            prompts.prompt_ids,
            prompt_mask=prompts.prompt_mask,
            audio=describer(backbone, [record.scene for record in records], rng),
            audio_start=prompts.audio_start,
        )
        tokens = sampler(predictor).tokens.tolist()
        texts = [text_of(tokenizer, template, row) for row in tokens]
        hits = [text == record.answer for text, record in zip(texts, records, strict=True)]
        right[family] = round(sum(hits) / rows, 3)
    return right


def text_of(tokenizer: PreTrainedTokenizerFast, template: ChatTemplate, tokens: list[int]) -> str:
    """The answer up to its end."""
    ends = (template.end_of_turn_id, template.pad_token_id)
    end = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokenizer.decode(tokens[:end], skip_special_tokens=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    args = parser.parse_args()
    train_lm(make_tokenizer(args.run / "tokenizer"), args.run, args.steps)


if __name__ == "__main__":
    main()
