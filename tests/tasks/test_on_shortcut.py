"""`validation.on_shortcut`: what becomes of a shortcut on the way from the file to the loss."""

import json

import numpy as np
import pytest

from dpo_core.recipe import Encoding, Validation
from infra.settings import load_settings
from tasks.data_check.pipeline import examine_request
from tasks.data_check.request import Request
from tests.dpo_core.quality import planted
from tests.dpo_core.quality.quality_data import as_pairs, make_pair, null_texts
from tests.dpo_core.quality.test_mitigation import uneven

PAIRS = 600


@pytest.fixture
def run(tmp_path):
    def examine_it(pairs, **validation):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(p.pair.to_row()) + "\n" for p in pairs))
        folder = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        settings = load_settings().model_copy(update={"num_threads": 1, "home": tmp_path})
        request = Request(str(path), None, Validation(**validation), Encoding(), None, split=False)
        examined = examine_request(request, folder, settings)
        kept = examined.spool.copy(examined.train, folder / "train.jsonl", examined.weights)
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        return examined, rows

    return examine_it


def severities(examined):
    return {f.feature: f.severity for f in examined.findings if f.check.startswith(("shortcut/word", "balance/length"))}


def treated(examined):
    """What is looked for in the trained model: by name the side that has it, and what was done about it."""
    return {s.name: (s.towards, s.treated) for s in examined.shortcuts}


def test_without_a_word_the_run_stops(run):
    examined, rows = run(planted.word(0, 0.05, PAIRS))
    assert examined.result.verdict == "fail"
    assert (examined.result.rows_dropped, len(rows)) == (0, PAIRS)


def test_warn_lets_it_through_and_still_tells(run):
    examined, rows = run(planted.word(0, 0.05, PAIRS), on_shortcut="warn")
    assert examined.result.verdict == "warn"
    assert severities(examined)["word 'zebra'"] == "warn"
    assert len(rows) == PAIRS
    assert treated(examined)["word 'zebra'"] == ("chosen", "flagged")


def test_drop_takes_the_pairs_out_and_counts_them(run):
    examined, rows = run(planted.word(0, 0.05, PAIRS), on_shortcut="drop")
    assert examined.result.verdict != "fail"
    # a word in 5 % of 600 pairs, always on the chosen side: all 30 go
    assert (examined.result.rows_dropped, examined.result.rows_kept, len(rows)) == (30, 570, 570)
    assert treated(examined)["word 'zebra'"] == ("chosen", "dropped")
    assert "zebra" not in json.dumps(rows)
    assert {row["weight"] for row in rows} == {1.0}
    finding = next(f for f in examined.findings if f.check == "shortcut/mitigation")
    assert finding.says.startswith("30 of 600 pairs were dropped")


def test_balance_gives_weights_that_even_the_lengths_out_and_name_the_data_anew(run):
    stopped, _ = run(planted.length(0, PAIRS))
    examined, rows = run(planted.length(0, PAIRS), on_shortcut="balance")
    assert (stopped.result.verdict, examined.result.verdict) == ("fail", "pass")
    assert (examined.result.rows_dropped, len(rows)) == (0, stopped.result.rows_kept)
    assert sum(row["weight"] for row in rows) / len(rows) == pytest.approx(1)
    longer = [len(row["chosen"][0]["content"]) - len(row["rejected"][0]["content"]) for row in rows]
    won = sum(row["weight"] * ((d > 0) + 0.5 * (d == 0)) for row, d in zip(rows, longer, strict=True)) / len(rows)
    assert won == pytest.approx(0.5, abs=0.02)
    assert {how for name, how in treated(examined).items() if name in ("tokens", "words", "characters")} == {
        ("chosen", "weighted")
    }
    assert examined.result.data_sha256 != stopped.result.data_sha256


def hidden(wins):
    """A word in the chosen answer of 30 %, where "horse" is in the rejected one; of 20 of the others `wins` have it."""
    texts = null_texts(3, PAIRS)
    for row, (chosen, rejected) in enumerate(texts):
        if row % 10 < 3:
            texts[row] = [in_the_middle(chosen, "zebra"), in_the_middle(rejected, "horse")]
        elif row % 10 < 6:
            side = int(row // 10 % 20 >= wins)
            texts[row][side] = in_the_middle(texts[row][side], "horse")
    return as_pairs(texts)


def in_the_middle(text, word):
    """In place of another one."""
    words = text.split()
    return " ".join([*words[:9], word, *words[10:]])


@pytest.mark.parametrize(("wins", "kept"), [pytest.param(17, 420, marks=pytest.mark.campaign), (20, 240)])
def test_balance_also_looks_at_a_word_that_dropping_brings_up(run, wins, kept):
    before, _ = run(hidden(wins))
    examined, rows = run(hidden(wins), on_shortcut="balance")
    assert severities(before).get("word 'zebra'") == "fail"
    assert "word 'horse'" not in severities(before)
    # zebra is never broken, and horse beside it where it wins 20 of 20: those pairs go; 17 of 20 are weighed
    assert (len(rows), "zebra" in json.dumps(rows)) == (kept, False)
    won = [row["weight"] * (("horse" in str(row["chosen"])) - ("horse" in str(row["rejected"]))) for row in rows]
    assert abs(sum(won)) < 0.5 * np.sqrt(np.square(won).sum()) or not any(won)
    assert examined.result.verdict != "fail"
    assert set(severities(examined).values()) == {"info"}


def test_balance_stops_where_the_length_decides_within_each_prompt(run):
    examined, rows = run(list(uneven()), on_shortcut="balance")
    assert [row["weight"] for row in rows] == pytest.approx([1] * 600)
    assert examined.result.verdict == "fail"
    assert severities(examined)["length"] == "fail"
    assert treated(examined)["words"] == ("chosen", "flagged")


def test_a_length_limit_that_falls_on_one_side_is_named(tmp_path, tiny_model):
    """Both sides are as long, by chance; long chosen answers go with their pairs, long rejected ones are short here."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(800):
        long, short = sorted(rng.integers(1, 30, size=2))[::-1]
        sides = ("x y " * long, "x y " * short) if number % 2 else ("x y " * short, "x y " * long)
        if number % 2 and long > 8:
            sides = ("x y " * (long + 200), sides[1])
        pairs.append(make_pair(f"prompt {number}", *sides))
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(p.pair.to_row()) + "\n" for p in pairs))
    settings = load_settings().model_copy(update={"num_threads": 1, "home": tmp_path})
    request = Request(str(path), None, Validation(), Encoding(max_length=500), str(tiny_model), split=False)
    examined = examine_request(request, tmp_path, settings)
    step = next(f for f in examined.findings if f.check == "shortcut/filter_step")
    assert step.feature == "encoding.max_length"
    assert "It looks at one side only" in step.says


def test_nothing_happens_to_data_without_a_shortcut(run):
    plain, rows = run(planted.null(0))
    balanced, same = run(planted.null(0), on_shortcut="balance")
    assert plain.result.verdict != "fail"
    assert balanced.result == plain.result
    assert plain.shortcuts == []
    assert rows == same


def test_balance_that_drops_every_pair_ends_as_a_report_that_fails(run):
    """A rule that no pair breaks, and a length that most keep: all pairs go, and nothing is left to be weighed."""
    pairs = []
    for row, (chosen, rejected) in enumerate(null_texts(5, PAIRS)):
        long, short = f"{chosen} {rejected}", rejected
        sides = (long, short) if row % 4 else (short, long)
        pairs.append(make_pair(f"prompt {row}", f"{sides[0]}\n", f"Sorry {sides[1]}"))
    dropped, _ = run(pairs, on_shortcut="drop")
    examined, rows = run(pairs, on_shortcut="balance")
    assert (examined.result.verdict, examined.result.rows_kept, rows) == ("fail", 0, [])
    assert examined.result.verdict == dropped.result.verdict
