"""One model's answers and log-probs: the part of the evaluation that needs the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.pairs import EncodedPair, Message
from dpo_core.evaluate.behaviour import BehaviourCheck, read_paragraphs
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.score import score
from infra.store.base import Store
from tasks.curate.answer_store import StoredAnswer
from tasks.evaluation.sampled import Drawing, draw, drawing_of
from tasks.records import Checked, MeasureOutput, Plan
from tasks.runtime.device import load_on_device
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.stages import remembered

CODE = ("tasks.evaluation.measure",)


@dataclass(frozen=True)
class Inquiry:
    """What a model is asked: suites of checks, prompts of `samples`, answers with a shortcut (as chosen) and without.

    `logps`: whether the log-probs of the held-out answers are wanted; those of `edited` are in any case. `path`: the
    model and all else, beside the decoding, that decides an answer; None: answers are not kept.
    """

    suites: Mapping[str, Sequence[BehaviourCheck]]
    samples: Sequence[tuple[Message, ...]]
    edited: Sequence[EncodedPair]
    logps: bool
    path: Mapping[str, object] | None

    @property
    def prompts(self) -> dict[str, list[tuple[Message, ...]]]:
        """Of each suite."""
        return {name: [check.prompt for check in checks] for name, checks in self.suites.items()}


class _Asker:
    """A model that is asked, and where in the store its answers lie (`kept`)."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: Plan, store: Store) -> None:
        self.model, self.tokenizer, self.plan, self.store = model, tokenizer, plan, store
        self.kept: list[str] = []

    def ask(self, prompts: Sequence[Sequence[Message]], how: Drawing, count: int = 1) -> list[list[StoredAnswer]]:
        """`count` answers to each prompt; only those that were not asked for before."""
        if (shelf := how.shelf(self.store)) is not None:
            self.kept.append(shelf.folder)
        bfloat16 = self.plan.recipe.training.dtype == "bfloat16"
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=bfloat16):
            return draw(self.model, self.tokenizer, prompts, count, how, self.store, anew=self.plan.force)

    def ask_each(
        self, suites: Mapping[str, Sequence[Sequence[Message]]], how: Drawing, count: int = 1
    ) -> dict[str, list[list[StoredAnswer]]]:
        """The same by suite, in one go, so that batches are of similar length."""
        told = iter(self.ask([prompt for suite in suites.values() for prompt in suite], how, count))
        return {name: [next(told) for _ in suite] for name, suite in suites.items()}


def measure(folder: Path, plan: Plan, store: Store, checked: Checked, asked: Inquiry) -> MeasureOutput:
    """Answers by suite, held-out log-probs (nats; None unless asked for), NLL a paragraph (nats a token)."""
    model = load_on_device(folder, threads=plan.threads, trusted_code=plan.trusted_code)
    tokenizer = load_tokenizer(folder, trusted_code=plan.trusted_code)
    asker = _Asker(model, tokenizer, plan, store)
    answers, cut, sampled, again = _answers(asker, asked) if tokenizer.chat_template else (_none(asked), {}, {}, {})
    having, lacking = _sums(model, asked.edited, plan)
    return MeasureOutput(
        answers=answers,
        cut=cut,
        sampled=sampled,
        kept=asker.kept,
        again=again,
        logps=_held_out(model, plan, store, checked, asked.path) if asked.logps else None,
        nll=_text_nll(model, tokenizer, plan.recipe.evaluation.neutral_text),
        uptake={"with": having, "without": lacking},
    )


def _held_out(
    model: PreTrainedModel, plan: Plan, store: Store, checked: Checked, path: Mapping[str, object] | None
) -> dict[str, list[float]] | None:
    """By side the log-probs of the held-out answers, whatever else is asked: remembered by themselves."""

    def compute() -> MeasureOutput:
        chosen, rejected = _sums(model, encoded_pairs(store, checked.eval_key, checked.eval_ids_key), plan)
        return MeasureOutput(answers={}, logps={"chosen": chosen, "rejected": rejected}, nll={}, uptake={})

    if path is None:
        return compute().logps
    inputs = {**path, "data": checked.data_sha256, "ids": checked.ids_sha256}
    return remembered(store, "held_out", inputs, compute, output=MeasureOutput, code=CODE, force=plan.force)[0].logps


def _sums(model: PreTrainedModel, pairs: Sequence[EncodedPair], plan: Plan) -> tuple[list[float], list[float]]:
    """Log-probs of both answers of each pair, nats."""
    sequences = [(p.prompt_ids, answer) for p in pairs for answer in (p.chosen_ids, p.rejected_ids)]
    totals = {i: float(v.double().sum()) for i, v in score(model, sequences, dtype=plan.recipe.training.dtype)}
    first, second = ([totals[i] for i in range(side, len(sequences), 2)] for side in (0, 1))
    return first, second


def _none(asked: Inquiry) -> dict[str, list[str]]:
    return {name: [] for name in (*asked.suites, "samples")}


def _answers(
    asker: _Asker, asked: Inquiry
) -> tuple[dict[str, list[str]], dict[str, list[bool]], dict[str, list[list[str]]], dict[str, int]]:
    """By suite the likeliest answers, and which were cut off; several, where the recipe asks for them.

    And what became of those that were asked for twice.
    """
    recipe = asker.plan.recipe
    likeliest = drawing_of(recipe, asked.path)
    found = asker.ask_each(asked.prompts | {"samples": list(asked.samples)}, likeliest)
    answers = {name: [only.text for [only] in told] for name, told in found.items()}
    cut = {name: [not only.ended for [only] in told] for name, told in found.items()}
    again = _asked_again(asker, asked.suites, answers, likeliest)
    if recipe.evaluation.answers == 1:
        return answers, cut, {}, again
    drawn = drawing_of(recipe, asked.path, recipe.evaluation.temperature)
    several = asker.ask_each(asked.prompts, drawn, recipe.evaluation.answers)
    sampled = {name: [[one.text for one in each] for each in told] for name, told in several.items()}
    return answers, cut, sampled, again


def _asked_again(
    asker: _Asker,
    suites: Mapping[str, Sequence[BehaviourCheck]],
    answers: Mapping[str, Sequence[str]],
    likeliest: Drawing,
) -> dict[str, int]:
    """Some questions of all suites, by their digests, and a batch half as wide: what became of the answers.

    A question more takes the place of at most one of them.
    """
    every = [(check, text) for name in suites for check, text in zip(suites[name], answers[name], strict=True)]
    some = sorted(every, key=lambda one: prompt_digest(one[0].prompt))[: asker.plan.recipe.evaluation.again]
    if not some:
        return {}
    path = None if likeliest.path is None else {**likeliest.path, "again": True}
    how = replace(likeliest, path=path, width=max(1, min(likeliest.width, len(some)) // 2))
    found = [only.text for [only] in asker.ask([check.prompt for check, _ in some], how)]
    changed = [(check, then, now) for (check, then), now in zip(some, found, strict=True) if then != now]
    flipped = sum(check.passes(then) != check.passes(now) for check, then, now in changed)
    return {"asked": len(some), "changed": len(changed), "flipped": flipped}


def _text_nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | None) -> dict[str, float]:
    """Mean token NLL of each paragraph after its first token, by the digest of its text: what it is known again by."""
    if path is None:
        return {}
    ids = {digest_json(text): tokenizer(text, add_special_tokens=False)["input_ids"] for text in read_paragraphs(path)}
    sequences = {name: (row[:1], row[1:]) for name, row in ids.items() if len(row) > 1}
    values = dict(score(model, list(sequences.values())))
    return {name: float(-values[i].double().mean()) for i, name in enumerate(sequences)}
