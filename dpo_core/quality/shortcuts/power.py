"""A smoke detector for the checks: known artefacts are planted into a copy of a sample, and looked for.

What is found of them is the power of the checks on these prompts and answers. In the copy the sides are swapped at
random by prompt first, so that nothing but the plants can be found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpo_core.data.pairs import EncodedPair, Message, Pair, text_of
from dpo_core.quality.check import Block, Check, Facts
from dpo_core.quality.features.feature_tests import LIKELY_COVERAGE, Separation
from dpo_core.quality.features.ngrams import LEAST, Feature, grams, merge, word_key
from dpo_core.quality.prompts.identity import prompt_columns, prompt_key, sample_rows
from dpo_core.quality.results import Results, Statistics
from dpo_core.quality.shortcuts.balance import check_balance
from dpo_core.quality.shortcuts.findings import check_shortcuts
from dpo_core.quality.shortcuts.strata import LEAST_PAIRS
from dpo_core.quality.shortcuts.within_strata import check_within_strata
from dpo_core.quality.stats.sign_tests import least_detectable
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.surface import PRESENCE, surface_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Table

SAMPLE, COPIES = 1000, 8  # pairs; plants of each kind
SIZES = (0.01, 0.02, 0.05)  # shares of pairs
Answers = list[list[str]]  # texts, [chosen, rejected] of each pair


@dataclass(frozen=True)
class Planted:
    """One kind of artefact: how many were planted, how many found."""

    name: str
    pairs: int  # that each stands in
    planted: int
    found: int


def check_power(facts: Facts, validation: Validation) -> Results:
    """What would have been seen: the smallest share by arithmetic, and the plants found by trying.

    The plants are looked for with the limits of the recipe as it is delivered, not with those of `validation`.
    """
    separation = facts.separation
    says, statistics = _says_power(separation)
    rows = separation.grams.rows
    chosen = rows[sample_rows(separation.table["prompt"][rows], SAMPLE)][: 2 * SAMPLE]
    pairs = separation.table.rows(chosen.tolist())
    if not pairs:
        return [], [Finding("shortcut/detectable", "info", says, statistics=statistics)]
    results = plant(pairs)
    found, planted = sum(result.found for result in results), sum(result.planted for result in results)
    says += f". Planted into a copy of {len(pairs)} pairs, {found} of {planted} artefacts were found"
    header = ("planted", "pairs each", "planted", "found")
    table = Table(
        f"Planted into {len(pairs)} pairs", header, tuple((r.name, r.pairs, r.planted, r.found) for r in results)
    )
    statistics |= {"planted": planted, "planted_found": found}
    return [], [Finding("shortcut/detectable", "info", says, statistics=statistics, tables=(table,))]


def _says_power(separation: Separation) -> tuple[str, Statistics]:
    """How rare a shortcut may be to go unnoticed: a sentence and its numbers."""
    tested = separation.scores.chosen_only + separation.scores.rejected_only >= LEAST
    num_features, sampled, total = int(tested.sum()), len(separation.grams.rows), len(separation.table)
    prompts = len(np.unique(separation.clusters))
    needed = max(least_detectable(num_features), int(np.ceil(LIKELY_COVERAGE * sampled)))
    share = needed / sampled if sampled else float("inf")
    says = (
        f"{num_features} features were tested on {sampled} of {total} pairs ({prompts} prompts). One that always "
        f"stands on the same side is seen from about {needed} pairs on, {share:.1%} of those examined: a rarer "
        "shortcut would go unnoticed"
    )
    return says, {
        "features": num_features,
        "pairs_needed": needed,
        "share_needed": share,
        "pairs_examined": sampled,
        "prompts": prompts,
    }


def plant(pairs: Sequence[Pair], *, seed: int = 0) -> list[Planted]:
    """Plant words, openers, neighbours, words whose side goes by the prompt, a space and length; look for each."""
    random = np.random.default_rng(seed)
    texts = _swapped(pairs, random)
    return [
        *_words(pairs, texts, random),
        _neighbours(pairs, texts, random),
        *_by_prompt(pairs, texts, random),
        _trailing_space(pairs, texts, random),
        _length(pairs, texts, random),
    ]


def _words(pairs: Sequence[Pair], texts: Answers, random: np.random.Generator) -> list[Planted]:
    """Words that always (or nine times of ten) stand on the chosen side, and openers; all in one copy."""
    copy = [list(sides) for sides in texts]
    kinds = [(f"a word in {size:.0%} of pairs, always chosen", size, 1.0) for size in SIZES]
    kinds.append((f"a word in {SIZES[-1]:.0%} of pairs, chosen in 90 %", SIZES[-1], 0.9))
    planted: list[tuple[str, int, list[int]]] = []
    for kind, (name, size, purity) in enumerate(kinds):
        count = max(1, round(size * len(copy)))
        words = [f"zq{kind}plant{number}" for number in range(COPIES)]
        for word in words:
            wrong = count - round(purity * count)
            for at, row in enumerate(random.choice(len(copy), size=count, replace=False).tolist()):
                side = int(at < wrong)
                copy[row][side] = _with_word(copy[row][side], word, random)
        planted.append((name, count, [word_key(Feature("word", word)) for word in words]))
    planted.append(_put_openers(copy, random))
    seen = _seen(pairs, copy)
    return [Planted(name, count, len(keys), len(seen & set(keys))) for name, count, keys in planted]


def _put_openers(copy: Answers, random: np.random.Generator) -> tuple[str, int, list[int]]:
    """Words that open chosen answers and stand within the rejected ones: name, pairs each, keys."""
    count = max(1, round(SIZES[-1] * len(copy) / 2))
    openers = [f"zqopen{number}" for number in range(COPIES)]
    free = random.permutation(len(copy)).tolist()
    for word in openers:
        for row in [free.pop() for _ in range(min(count, len(free)))]:
            copy[row][0] = f"{word}, {copy[row][0]}"
            copy[row][1] = _with_word(copy[row][1], word, random)
    keys = [word_key(Feature("first_word", word)) for word in openers]
    return f"an opener in {count / len(copy):.1%} of pairs, mid-text on the other side", count, keys


def _neighbours(pairs: Sequence[Pair], texts: Answers, random: np.random.Generator) -> Planted:
    """Two words that both answers have, side by side in the chosen one alone: neither word tells them apart."""
    copy, keys = [list(sides) for sides in texts], []
    count = max(1, round(SIZES[-1] * len(copy)))
    for number in range(COPIES):
        left, right = f"zqleft{number}", f"zqright{number}"
        for row in random.choice(len(copy), size=count, replace=False).tolist():
            chosen, rejected = (text.split(" ") for text in copy[row])
            place = int(random.integers(len(chosen)))
            copy[row][0] = " ".join([*chosen[:place], left, right, *chosen[place:]])
            place = int(random.integers(len(rejected)))
            copy[row][1] = " ".join([*rejected[:place], right, rejected[place], left, *rejected[place + 1 :]])
        keys.append(word_key(Feature("word_pair", f"{left} {right}")))
    name = f"two words as neighbours in {count / len(copy):.0%} of chosen answers, apart in the rejected ones"
    return Planted(name, count, len(keys), len(_seen(pairs, copy) & set(keys)))


def _by_prompt(pairs: Sequence[Pair], texts: Answers, random: np.random.Generator) -> list[Planted]:
    """Words that stand in chosen answers to the shortest prompts and in rejected answers to the longest."""
    lengths = np.array([len(text_of(pair.prompt)) for pair in pairs])
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])  # as the strata are divided
    short, long = np.flatnonzero(lengths <= low), np.flatnonzero(lengths > high)
    half = round(SIZES[-1] * len(texts) / 2)
    fewest = min(len(short), len(long))
    if fewest < max(LEAST_PAIRS, half):
        return []
    copy = [list(sides) for sides in texts]
    words = [f"zqturn{number}" for number in range(min(COPIES // 2, fewest // half))]  # each pair takes one
    for side, rows in enumerate((short, long)):
        for word, mine in zip(words, random.permutation(rows)[: half * len(words)].reshape(-1, half), strict=True):
            for row in mine.tolist():
                copy[row][side] = _with_word(copy[row][side], word, random)
    found = _gating(check_within_strata, pairs, copy)
    name = f"a word in {2 * half / len(copy):.0%} of pairs, chosen with short prompts, rejected with long ones"
    return [Planted(name, 2 * half, len(words), sum(f"word {word!r}" in found for word in words))]


def _trailing_space(pairs: Sequence[Pair], texts: Answers, random: np.random.Generator) -> Planted:
    rows = set(random.choice(len(texts), size=max(1, len(texts) // 10), replace=False).tolist())
    copy = [[c.rstrip(), r.rstrip() + " " * (row in rows)] for row, (c, r) in enumerate(texts)]
    found = "trailing whitespace" in _gating(check_shortcuts, pairs, copy)
    return Planted("a space after 10 % of the rejected answers", len(rows), 1, int(found))


def _length(pairs: Sequence[Pair], texts: Answers, random: np.random.Generator) -> Planted:
    """The longer answer is made the chosen one in three quarters of the pairs."""
    longer_wins = random.random(len(texts)) < 0.75
    copy = [sorted(sides, key=len, reverse=bool(wins)) for sides, wins in zip(texts, longer_wins, strict=True)]
    found = "length" in _gating(check_balance, pairs, copy, words=False)
    return Planted("the longer answer wins 75 % of pairs", len(texts), 1, int(found))


def _swapped(pairs: Sequence[Pair], random: np.random.Generator) -> Answers:
    """Texts of both sides, swapped at random, all pairs of a prompt alike."""
    flips: dict[str, bool] = {}
    texts = []
    for pair in pairs:
        flip = flips.setdefault(prompt_key(pair.prompt), bool(random.integers(2)))
        sides = [text_of(pair.chosen), text_of(pair.rejected)]
        texts.append(sides[::-1] if flip else sides)
    return texts


def _with_word(text: str, word: str, random: np.random.Generator) -> str:
    """In place of one of the text's words, so that the length stays about the same."""
    parts = text.split(" ")
    parts[int(random.integers(len(parts)))] = word
    return " ".join(parts)


def _gating(
    run: Callable[[Facts, Validation], Results], pairs: Sequence[Pair], texts: Answers, *, words: bool = True
) -> set[str]:
    """Names of the features that a check warns of, or fails, in pairs with these texts."""
    _, findings = run(_facts(pairs, texts, words=words), Validation())
    return {finding.feature for finding in findings if finding.severity != "info"}


def _seen(pairs: Sequence[Pair], texts: Answers) -> set[int]:
    """Keys of the words, openings and neighbours that are flagged in pairs with these texts."""
    separation = _facts(pairs, texts).separation
    flagged = separation.scores.fails | separation.scores.warns
    return set(separation.grams.keys[flagged[len(PRESENCE) :]].tolist())


def _facts(pairs: Sequence[Pair], texts: Answers, *, words: bool = True) -> Facts:
    """What the checks are to know of pairs with these texts: their words, unless they are not looked at, no tokens."""
    changed = [
        replace(pair, chosen=_answer(chosen), rejected=_answer(rejected))
        for pair, (chosen, rejected) in zip(pairs, texts, strict=True)
    ]
    encoded = [EncodedPair(pair, (), (), ()) for pair in changed]
    block = Block(encoded, Validation())
    columns = surface_columns(block) | prompt_columns(block)
    table = PairTable(len(encoded), columns, lambda rows: [changed[row] for row in rows])
    counted = encoded if words else []
    return Facts(table, merge([grams(counted)], np.arange(len(counted))))


def _answer(text: str) -> tuple[Message, ...]:
    return ({"role": "assistant", "content": text},)


CHECK = Check("shortcut/detectable", columns=(surface_columns, prompt_columns), run=check_power)
