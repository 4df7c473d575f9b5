"""One model's answers and log-probs: the part of the evaluation that needs the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.pairs import EncodedPair, Message
from dpo_core.evaluate.behaviour import BehaviourCheck
from dpo_core.model.answers.answers import texts
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.score import score
from infra.store.base import Store
from tasks.evaluation.sampled import draw, drawing_of
from tasks.records import Checked, MeasureOutput, Plan
from tasks.runtime.device import load_on_device
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.progress import progress_bar


@dataclass(frozen=True)
class Inquiry:
    """What a model is asked: suites of checks, prompts of `samples`, answers with a shortcut (as chosen) and without.

    `logps`: whether the log-probs of the held-out answers are wanted; those of `edited` are in any case. `path`: the
    model and all else, beside the decoding, that decides a sampled answer.
    """

    suites: Mapping[str, Sequence[BehaviourCheck]]
    samples: Sequence[tuple[Message, ...]]
    edited: Sequence[EncodedPair]
    logps: bool
    path: Mapping[str, Any]

    @property
    def prompts(self) -> dict[str, list[tuple[Message, ...]]]:
        """Of each suite."""
        return {name: [check.prompt for check in checks] for name, checks in self.suites.items()}


def measure(folder: Path, plan: Plan, store: Store, checked: Checked, asked: Inquiry) -> MeasureOutput:
    """Answers by suite, held-out log-probs (nats; None unless asked for), NLL a paragraph (nats a token)."""
    model = load_on_device(folder, threads=plan.threads, trusted_code=plan.trusted_code)
    tokenizer = load_tokenizer(folder, trusted_code=plan.trusted_code)
    answers = _answers(model, tokenizer, asked.prompts | {"samples": list(asked.samples)}, plan)
    again = _asked_again(model, tokenizer, asked.suites, answers, plan)
    sampled, kept = _sampled(model, tokenizer, plan, store, asked)
    pairs = encoded_pairs(store, checked.eval_key, checked.eval_ids_key) if asked.logps else []
    sequences = [(p.prompt_ids, answer) for p in (*pairs, *asked.edited) for answer in (p.chosen_ids, p.rejected_ids)]
    totals = {i: float(v.double().sum()) for i, v in score(model, sequences, dtype=plan.recipe.training.dtype)}
    first, second = ([totals[i] for i in range(side, len(sequences), 2)] for side in (0, 1))
    held_out = {"chosen": first[: len(pairs)], "rejected": second[: len(pairs)]} if asked.logps else None
    uptake = {"with": first[len(pairs) :], "without": second[len(pairs) :]}
    nll = _text_nll(model, tokenizer, plan.recipe.evaluation.neutral_text)
    return MeasureOutput(
        answers=answers, sampled=sampled, kept=kept, again=again, logps=held_out, nll=nll, uptake=uptake
    )


def _sampled(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: Plan, store: Store, asked: Inquiry
) -> tuple[dict[str, list[list[str]]], str]:
    """Of each suite, where the recipe asks for several answers to a question: all of them, and where they lie."""
    count, prompts = plan.recipe.evaluation.answers, asked.prompts
    if count == 1 or not tokenizer.chat_template:
        return {}, ""
    how = drawing_of(plan.recipe, asked.path)
    with _arithmetic(model, plan):
        everything = [prompt for suite in prompts.values() for prompt in suite]
        told = iter(draw(model, tokenizer, everything, count, how, store, anew=plan.force))
    return {name: [next(told) for _ in suite] for name, suite in prompts.items()}, how.shelf(store).folder


def _asked_again(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suites: Mapping[str, Sequence[BehaviourCheck]],
    answers: Mapping[str, Sequence[str]],
    plan: Plan,
) -> dict[str, int]:
    """Some questions of all suites, evenly, in reversed order and a batch half as wide: what became of the answers."""
    every = [(check, text) for name in suites for check, text in zip(suites[name], answers[name], strict=False)]
    step = max(1, len(every) // max(plan.recipe.evaluation.again, 1))
    some = every[::step][: plan.recipe.evaluation.again][::-1]
    if not some:
        return {}
    width = max(1, min(plan.recipe.evaluation.batch_size, len(some)) // 2)
    found = _texts(model, tokenizer, [check.prompt for check, _ in some], plan, width)
    changed = [(check, then, now) for (check, then), now in zip(some, found, strict=True) if then != now]
    flipped = sum(check.passes(then) != check.passes(now) for check, then, now in changed)
    return {"asked": len(some), "changed": len(changed), "flipped": flipped}


def _arithmetic(model: PreTrainedModel, plan: Plan) -> torch.autocast:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=plan.recipe.training.dtype == "bfloat16")


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, Sequence[Sequence[Message]]],
    plan: Plan,
) -> dict[str, list[str]]:
    """The likeliest ones, to every suite's prompts in one go, so that batches are of similar length."""
    evaluation = plan.recipe.evaluation
    everything = [prompt for suite in prompts.values() for prompt in suite]
    if not everything or not tokenizer.chat_template:
        return {name: [] for name in prompts}
    found = _texts(model, tokenizer, everything, plan, evaluation.batch_size)
    told = iter(found)
    return {name: [next(told) for _ in suite] for name, suite in prompts.items()}


def _texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    plan: Plan,
    width: int,
) -> list[str]:
    evaluation, day = plan.recipe.evaluation, plan.recipe.encoding.date
    with progress_bar("answers", total=len(prompts), unit="prompt") as bar, _arithmetic(model, plan):
        longest, told = evaluation.max_new_tokens, bar.update
        return texts(model, tokenizer, prompts, max_new_tokens=longest, width=width, day=day, progress=told)


def _text_nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | None) -> list[float]:
    """Mean token NLL of each paragraph after its first token."""
    if path is None:
        return []
    paragraphs = [text.strip() for text in Path(path).read_text(encoding="utf-8").split("\n\n") if text.strip()]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in paragraphs]
    sequences = [(row[:1], row[1:]) for row in ids if len(row) > 1]
    values = dict(score(model, sequences))
    return [float(-values[i].double().mean()) for i in range(len(sequences))]
