"""Surface features that give away which answer was chosen: a model learns them instead of what people meant.

Paired sign tests with effect sizes, after Gardner et al. 2021 (arXiv:2104.08646) and Westfall & Young 1993.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from dpo_core.data.pairs import Pair
from dpo_core.quality.evidence import evidence_of
from dpo_core.quality.grams import LEAST, Feature, GramTable, spell
from dpo_core.quality.intended import differs_in_property, is_piece, names_feature
from dpo_core.quality.length_adjusted import adjusted_z, length_terms
from dpo_core.quality.prompts import prompt_clusters
from dpo_core.quality.statistics import (
    as_independent,
    by_cluster,
    false_discovery,
    family_bound,
    family_p,
    least_detectable,
    log_odds,
    purity_lower_bound,
    sign_test,
    signs,
    squares,
)
from dpo_core.quality.surface import PRESENCE
from dpo_core.quality.table import PairTable
from dpo_core.quality.words import words
from dpo_core.report.results import Finding, Measure, Severity, Table

ERROR = 0.01  # false discovery rate of warnings
FAMILY_ERROR = 0.005  # family-wise error of failures; strata and lengths have the rest of one percent
PURE, PURE_COVERAGE, RULE_ACCURACY = 0.90, 0.02, 0.60  # fail
LIKELY, LIKELY_COVERAGE = 0.75, 0.005  # warn
LISTED, AIMS_LISTED, BY_LENGTH_LISTED = 15, 4, 10
ADVICE = (
    "a model can learn it instead of what makes the answer better. Add pairs in which it stands on the other side "
    "or on both, set validation.on_shortcut to drop or balance, or declare it in validation.intended"
)
GOES_WITH_AIM = (
    "it goes with a declared property and is not seen where both sides have it or neither; declare it too if it is "
    "meant"
)
TokenText = Callable[[int], str]  # the text of one token id
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Arrays over features. Counts are of pairs; tests and bounds allow for pairs that share a prompt."""

    chosen_only: Counts
    rejected_only: Counts
    purity: Floats  # larger side's share of the discordant pairs
    purity_low: Floats  # its one-sided 95 % lower bound
    coverage: Floats  # discordant share of all pairs
    accuracy: Floats  # of guessing the chosen side by this feature, else by a coin
    z: Floats
    q: Floats
    p_family: Floats
    z_adjusted: Floats  # given the lengths of the answers
    q_adjusted: Floats  # over the features that would be flagged, did the lengths not explain them
    log_odds_z: Floats  # for reading

    @property
    def size_fails(self) -> Bools:
        """A rule worth learning."""
        pure = (self.purity_low >= PURE) & (self.coverage >= PURE_COVERAGE)
        return pure | (self.accuracy >= RULE_ACCURACY)

    @property
    def size_warns(self) -> Bools:
        """Large enough to matter."""
        return (self.purity_low >= LIKELY) & (self.coverage >= LIKELY_COVERAGE)

    @property
    def beyond_length(self) -> Bools:
        """Not explained by longer or shorter answers."""
        return np.asarray((self.q_adjusted <= ERROR) & (np.sign(self.z_adjusted) == np.sign(self.z)), dtype=np.bool_)

    @property
    def fails(self) -> Bools:
        """Beyond chance in the whole family, whatever the lengths, and a rule worth learning."""
        return (self.p_family <= FAMILY_ERROR) & self.beyond_length & self.size_fails

    @property
    def warns(self) -> Bools:
        """Likely real, whatever the lengths, and large enough to matter."""
        return (self.q <= ERROR) & self.beyond_length & (self.size_warns | self.size_fails) & ~self.fails

    @property
    def by_length(self) -> Bools:
        """Would be flagged, did the lengths not explain it."""
        return (self.q <= ERROR) & (self.size_warns | self.size_fails) & ~self.beyond_length

    def of(self, column: int) -> dict[str, float | int | str]:
        """One feature's numbers."""
        return {field.name: getattr(self, field.name)[column].item() for field in fields(self)}


@dataclass(frozen=True)
class Separation:
    """What was tested on the sampled pairs, and what came out.

    Columns of `d` are the properties (`surface.PRESENCE`), then the words and tokens that could matter; `grams` holds
    the latter alone, in the same order.
    """

    table: PairTable
    grams: GramTable
    d: sparse.csr_array
    clusters: Counts
    terms: Floats
    scores: Scores
    token_text: TokenText | None

    def features(self, columns: Sequence[int]) -> dict[int, Feature]:
        """What these columns of `d` are."""
        own = len(PRESENCE)
        spelt = spell(self.table, self.grams, [column - own for column in columns if column >= own], self.token_text)
        properties = {column: Feature("property", PRESENCE[column]) for column in columns if column < own}
        return {**properties, **{column + own: feature for column, feature in spelt.items()}}

    def column(self, column: int) -> NDArray[np.int8]:
        """One feature's d of every sampled pair."""
        return np.asarray(self.d[:, [column]].toarray().ravel(), dtype=np.int8)

    def intended(self, terms: Sequence[str], features: dict[int, Feature]) -> set[int]:
        """Those of `features` that are declared, or pieces of what is."""
        declared = self.table["intended"][self.grams.rows]

        def rows(places: NDArray[np.intp]) -> list[Pair]:
            return self.table.rows(self.grams.rows[places].tolist())

        return {
            column
            for column, feature in features.items()
            if names_feature(feature, terms) or is_piece(feature, self.column(column), declared, terms, rows)
        }


def separate(table: PairTable, grams: GramTable, token_text: TokenText | None = None) -> Separation:
    """Test every property, word and token of the sampled pairs."""
    often = np.bincount(grams.d.indices, minlength=len(grams.keys)) >= max(LEAST, LIKELY_COVERAGE * len(grams.rows))
    tested = GramTable(grams.rows, grams.keys[often], sparse.csr_array(grams.d[:, np.flatnonzero(often)]))
    properties = sparse.csr_array(table["presence"][grams.rows])
    d = sparse.csr_array(sparse.hstack([properties, tested.d], format="csr"))
    clusters = prompt_clusters(table, grams.rows)
    terms = length_terms(table["log_length"][grams.rows])
    return Separation(table, tested, d, clusters, terms, score(d, clusters, terms), token_text)


def score(d: sparse.csr_array, clusters: Counts, terms: Floats) -> Scores:
    """Statistics of each column of d (pairs, features in {-1, 0, 1}), pairs grouped by `clusters`.

    Pairs of one prompt may share an answer, so p values and bounds count a feature's pairs as if they were fewer.
    Family p values are simulated only where a bound does not decide; a feature seen fewer than ten times has p 1.
    `terms`: `length_terms` of the pairs.
    """
    total = max(d.shape[0], 1)
    plus, minus = signs(d)
    discordant, larger = plus + minus, np.maximum(plus, minus)
    seen = np.maximum(discordant, 1)
    sums = by_cluster(d, clusters)
    independent = as_independent(plus, minus, sums)
    tested = discordant >= LEAST
    z_adjusted = adjusted_z(d, clusters, terms)
    scores = Scores(
        chosen_only=plus,
        rejected_only=minus,
        purity=larger / seen,
        purity_low=purity_lower_bound(np.maximum(*independent), independent[0] + independent[1]),
        coverage=discordant / total,
        accuracy=0.5 + np.abs(plus - minus) / (2 * total),
        z=(plus - minus) / np.sqrt(np.maximum(seen, squares(sums))),
        q=_q(sign_test(*independent), tested),
        p_family=np.ones(len(plus)),
        z_adjusted=z_adjusted,
        q_adjusted=np.ones(len(plus)),
        log_odds_z=log_odds(plus, minus),
    )
    candidates = (scores.q <= ERROR) & (scores.size_warns | scores.size_fails)
    scores.q_adjusted[:] = _q(2 * special.ndtr(-np.abs(z_adjusted)), candidates)
    scores.p_family[tested] = _family(
        sums[:, np.flatnonzero(tested)], (scores.size_fails & scores.beyond_length)[tested]
    )
    return scores


def check_shortcuts(separation: Separation, intended: Sequence[str]) -> tuple[list[Measure], list[Finding]]:
    """Findings on properties, words and tokens; declared aims are shown and do not count."""
    scores = separation.scores
    flagged, features, aims = _flagged(separation, intended)
    told = without_repeats(separation, [column for column in flagged if column not in aims], features)
    with_aim = _gone_without_aim(separation, list(told), intended)
    aims_told = without_repeats(separation, [column for column in flagged if column in aims], features)
    findings = [
        _finding(separation, column, features, repeats, column in aims, column in with_aim)
        for column, repeats in [*list(told.items())[:LISTED], *list(aims_told.items())[:AIMS_LISTED]]
    ]
    failing = sum(bool(scores.fails[column]) and column not in with_aim for column in told)
    measures = [
        Measure("shortcut/failing_features", float(failing), None, 0.0, _says_count(failing, "clearly")),
        Measure(
            "shortcut/warning_features",
            float(len(told) - failing),
            0.0,
            None,
            _says_count(len(told) - failing, "probably"),
        ),
    ]
    return measures, [*findings, *_explained_by_length(separation)]


def gating(separation: Separation, intended: Sequence[str]) -> tuple[list[int], dict[int, Feature]]:
    """Columns that warn or fail, repeats left out, the worst first; and what they are."""
    flagged, features, aims = _flagged(separation, intended)
    return list(without_repeats(separation, [c for c in flagged if c not in aims], features)), features


def _flagged(separation: Separation, intended: Sequence[str]) -> tuple[list[int], dict[int, Feature], set[int]]:
    """Columns that warn or fail, the worst first; what they are; those that are aims or pieces of them."""
    scores = separation.scores
    flagged = np.flatnonzero(scores.fails | scores.warns).tolist()
    features = separation.features(flagged)
    flagged.sort(key=lambda c: (not scores.fails[c], -round(abs(float(scores.z[c])), 1), _plainness(features[c])))
    return flagged, features, separation.intended(intended, features)


def _gone_without_aim(separation: Separation, columns: Sequence[int], terms: Sequence[str]) -> set[int]:
    """Columns that tell nothing, or too little to see, where the sides do not differ in a declared property."""
    apart = differs_in_property(separation.table, terms)[separation.grams.rows]
    if not apart.any() or not columns:
        return set()
    rest = np.flatnonzero(~apart)
    d = sparse.csr_array(separation.d[rest][:, list(columns)])
    p = sign_test(*as_independent(*signs(d), by_cluster(d, separation.clusters[rest])))
    return {column for column, chance in zip(columns, p.tolist(), strict=True) if chance > ERROR}


def without_repeats(
    separation: Separation, columns: Sequence[int], features: dict[int, Feature]
) -> dict[int, list[int]]:
    """`columns` in order, each with the later ones that only say it again.

    Those have a text that holds its text or is part of it, and differ where it differs.
    """
    told: dict[int, list[int]] = {}
    known = {column: separation.column(column) for column in columns}
    for column in columns:
        rows = np.flatnonzero(known[column])
        for first, repeats in told.items():
            if (
                _same_text(features[first], features[column])
                and np.mean(known[first][rows] == known[column][rows]) >= 0.8
            ):
                repeats.append(column)
                break
        else:
            told[column] = []
    return told


def says_power(separation: Separation) -> tuple[str, dict[str, float | int | str]]:
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


def _q(p: Floats, tested: Bools) -> Floats:
    q = np.ones(len(p))
    q[tested] = false_discovery(np.asarray(p, dtype=np.float64)[tested])
    return q


def _family(sums: sparse.csr_array, candidates: Bools) -> Floats:
    """Family p values: the bound's, or the simulation's where some candidate needs it."""
    bound = family_bound(sums)
    if (candidates & (bound > FAMILY_ERROR)).any():
        return np.minimum(bound, family_p(sums))
    return bound


def _plainness(feature: Feature) -> tuple[int, str]:
    order = ("property", "first_word", "last_word", "word", "token", "first_token", "word_pair", "token_pair")
    return order.index(feature.kind), feature.text


def _same_text(left: Feature, right: Feature) -> bool:
    """Whether one is part of the other: word by word, tokens by spelling."""
    a, b = left.text.strip().casefold(), right.text.strip().casefold()
    if not a or not b:
        return False
    if "property" in (left.kind, right.kind):  # an exclamation mark and the token '!'
        return not words(a) or not words(b)
    if "token" in left.kind or "token" in right.kind:
        return a in b or b in a
    return set(words(a)) <= set(words(b)) or set(words(b)) <= set(words(a))


def _finding(
    separation: Separation,
    column: int,
    features: dict[int, Feature],
    repeats: Sequence[int],
    intended: bool,
    with_aim: bool,
) -> Finding:
    feature, scores = features[column], separation.scores
    numbers = scores.of(column)
    towards = 1 if scores.z[column] > 0 else -1
    side = "chosen" if towards > 0 else "rejected"
    places = np.flatnonzero(separation.column(column) == towards)
    severity: Severity = "info" if intended else "fail" if scores.fails[column] and not with_aim else "warn"
    says = (
        f"{feature.name} stands only in the {side} answer in {len(places)} of the "
        f"{numbers['chosen_only']} + {numbers['rejected_only']} pairs that differ in it "
        f"({scores.coverage[column]:.1%} of all pairs): "
    )
    says += "declared as intended" if intended else GOES_WITH_AIM if with_aim else ADVICE
    evidence = evidence_of(
        separation.table.rows(separation.grams.rows[places[:3]].tolist()),
        feature.text if feature.kind != "property" else "",
    )
    tables = (_table_of("The same in other words", separation, repeats, features),) if repeats else ()
    return Finding(f"shortcut/{feature.kind}", severity, says, feature.name, intended, numbers, evidence, tables)


def _table_of(
    title: str, separation: Separation, columns: Sequence[int], features: dict[int, Feature], most: int = 12
) -> Table:
    header = ("feature", "only in chosen", "only in rejected", "z", "z given length")
    scores = separation.scores
    return Table(
        title,
        header,
        tuple(
            (
                features[column].name,
                int(scores.chosen_only[column]),
                int(scores.rejected_only[column]),
                round(float(scores.z[column]), 1),
                round(float(scores.z_adjusted[column]), 1),
            )
            for column in columns[:most]
        ),
    )


def _explained_by_length(separation: Separation) -> list[Finding]:
    """Features that would be flagged, did longer answers not explain them."""
    scores = separation.scores
    columns = np.flatnonzero(scores.by_length)
    if not len(columns):
        return []
    shown = columns[np.argsort(-np.abs(scores.z[columns]), kind="stable")][:BY_LENGTH_LISTED].tolist()
    says = (
        f"{len(columns)} words or properties differ between the sides only because one side is longer: see the "
        "length; they need no cure of their own"
    )
    table = _table_of("Signs of length", separation, shown, separation.features(shown))
    return [Finding("shortcut/signs_of_length", "info", says, statistics={"features": len(columns)}, tables=(table,))]


def _says_count(count: int, how: str) -> str:
    return f"{count} surface features {how} tell the chosen answer from the rejected one"
