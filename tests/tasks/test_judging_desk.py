"""The desk: who gets which item, what is kept, and what is said when something is not as it was."""

import json
from pathlib import Path

import pytest

from dpo_core.errors import InputError
from dpo_core.judging.items import JudgedItem
from dpo_core.judging.lines import read_judged, written
from dpo_core.judging.verdicts import pairs_of_judged
from infra.errors import InfraError
from infra.pages.append_only import AppendOnlyFile
from tasks.judging.sessions import Refusal
from tests.dpo_core.judging.said import says
from tests.tasks.judging_room import Someone, pairs_file, room


@pytest.fixture
def source(tmp_path):
    return pairs_file(tmp_path / "pairs.jsonl")


@pytest.fixture
def here(source, tmp_path):
    with room(source, tmp_path) as opened:
        yield opened.desk


def kept(folder: Path):
    return read_judged([folder / "j.jsonl"])


def test_a_judgement_is_in_the_file_before_the_next_item_is_shown(here, tmp_path):
    anna = Someone(here, "anna")
    for number in range(1, 11):
        before = anna.page().item
        page = anna.says("left", note="a note ")
        assert [said.item for said in kept(tmp_path).standing()][-1] == before.id
        assert (page.progress.done, page.progress.left) == (number, 10 - number)
    assert page.item is None
    assert {said.note for said in kept(tmp_path).standing()} == {"a note"}


def test_a_preference_is_kept_as_the_answer_that_stood_there(here, tmp_path):
    anna = Someone(here, "anna")
    for _ in range(10):
        anna.prefers("yes")
    made = pairs_of_judged(kept(tmp_path))
    assert sorted(pair.chosen[0]["content"] for pair in made.pairs) == sorted(f"yes {n}" for n in range(10))
    assert {said.left for said in kept(tmp_path).standing()} == {"first", "second"}


def test_what_is_sent_to_the_page_says_nothing_of_the_file_s_choice(tmp_path):
    row = {"prompt": "?", "chosen": "a", "rejected": "b", "chosen_model": "gold", "source": "secret", "id": "row-7"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    with room(str(tmp_path / "p.jsonl"), tmp_path) as opened:
        sent = Someone(opened.desk, "anna").page().model_dump_json()
    assert not any(word in sent for word in ("chosen", "rejected", "gold", "secret", "row-7"))


def test_two_people_share_the_items_and_only_the_overlap_is_judged_twice(source, tmp_path):
    with room(source, tmp_path, overlap=0.4) as opened:
        desk = opened.desk
        twice = {item for item, wanted in desk.wanted.items() if wanted == 2}
        assert 0 < len(twice) < 10
        anna, ben = Someone(desk, "anna"), Someone(desk, "ben")
        if (anna.page().item.id in twice) is False:
            assert anna.page().item.id != ben.page().item.id
        while any(person.page().item for person in (anna, ben)):
            for person in (anna, ben):
                if person.page().item:
                    person.prefers("yes")
        judged = kept(tmp_path)
        assert {item.id: len(judged.of(item.id)) for item in judged.judged_items()} == desk.wanted
        report = desk.report()
        assert (report.pairs[0].items, report.pairs[0].agreement.value) == (len(twice), 1.0)
        assert anna.page().progress.complete == 10


def test_of_five_people_at_once_two_judge_an_item_of_the_overlap(source, tmp_path):
    with room(source, tmp_path, overlap=1.0) as opened:
        five = [Someone(opened.desk, name) for name in ("anna", "ben", "cleo", "dora", "emil")]
        while waiting := [person for person in five if person.page().item]:
            for person in waiting:
                if person.page().item:
                    person.says("tie")
        judged = kept(tmp_path)
        assert {item: len(judged.of(item)) for item in opened.desk.order} == dict.fromkeys(opened.desk.order, 2)


def test_an_undo_shows_the_item_again_with_what_was_said_and_reaches_back_over_a_restart(source, tmp_path):
    with room(source, tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        first = anna.page().item
        anna.says("tie", note="why")
        second = anna.page().item
        anna.says("skip")
    with room(source, tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        assert anna.undo().item == second
        page = anna.undo()
        assert (page.item, page.former.choice, page.former.note) == (first, "tie", "why")
        assert anna.page() == page
        assert anna.says("bad").item == second
        assert [said.choice for said in kept(tmp_path).standing()] == ["bad"]
        anna.undo()
        with pytest.raises(Refusal, match="nothing to take back"):
            anna.undo()


def test_what_was_skipped_comes_again_when_asked_for_and_goes_to_others_meanwhile(source, tmp_path):
    with room(pairs_file(tmp_path / "two.jsonl", 2), tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        skipped = anna.page().item.id
        anna.says("skip")
        anna.says("tie")
        assert anna.page().item is None
        assert anna.page().progress.skipped == 1
        ben = Someone(opened.desk, "ben")
        assert ben.page().item.id == skipped
        opened.desk.leave(ben.ask())
        assert anna.page("skipped").item.id == skipped
        assert Someone(opened.desk, "cleo").page().item is None  # it lies before anna
        assert anna.says("right", "skipped").progress.complete == 2


def test_an_undo_shows_an_item_again_that_was_skipped_before_it_was_decided(source, tmp_path):
    with room(pairs_file(tmp_path / "two.jsonl", 2), tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        skipped = anna.page().item
        anna.says("skip")
        anna.page("skipped")
        anna.says("tie", "skipped", note="why")
        page = anna.undo()
        assert (page.view, page.item, page.former.choice, page.former.note) == ("skipped", skipped, "tie", "why")
        assert anna.page("skipped") == page
        anna.says("bad", "skipped")
        assert [said.choice for said in kept(tmp_path).standing()][-1] == "bad"


def test_disagreements_are_settled_knowing_what_people_said(source, tmp_path):
    with room(pairs_file(tmp_path / "one.jsonl", 1), tmp_path, overlap=1.0) as opened:
        anna, ben = Someone(opened.desk, "anna"), Someone(opened.desk, "ben")
        anna.prefers("yes")
        assert ben.prefers("no").disagreements == 1
        cleo = Someone(opened.desk, "cleo")
        assert cleo.page().item is None
        page = cleo.page("settle")
        sides = {page.item.left[0].text[:2]: "left", page.item.right[0].text[:2]: "right"}
        assert {voice.by: voice.choice for voice in page.said} == {"anna": sides["ye"], "ben": sides["no"]}
        assert cleo.says("skip", "settle").item is None
        assert cleo.page().disagreements == 0  # left alone by her, not settled
        assert ben.page().disagreements == 1
        dora = Someone(opened.desk, "dora")
        assert dora.prefers("yes", "settle").disagreements == 0
        assert dora.undo().view == "settle"
        assert dora.page().disagreements == 1
        dora.prefers("yes", "settle")
    assert [pair.chosen[0]["content"] for pair in pairs_of_judged(kept(tmp_path)).pairs] == ["yes 0"]


def test_what_somebody_settled_meanwhile_is_not_settled_over_their_word(tmp_path):
    with room(pairs_file(tmp_path / "one.jsonl", 1), tmp_path, overlap=1.0) as opened:
        anna, ben, cleo = (Someone(opened.desk, name) for name in ("anna", "ben", "cleo"))
        anna.prefers("yes")
        ben.prefers("no")
        item = cleo.page("settle").item.id
        anna.prefers("yes", "settle")
        with pytest.raises(Refusal, match="anna has settled this meanwhile") as caught:
            opened.desk.judge(cleo.ask(item=item, choice="tie", view="settle"))
        assert caught.value.kind == "settled"
        assert cleo.page("settle").item is None
        assert kept(tmp_path).settlement(item).by == "anna"
        anna.undo()
        anna.says("tie", "settle")
    assert kept(tmp_path).settlement(item).choice == "tie"


def test_a_second_window_of_one_name_is_told_and_the_first_one_stops_when_it_goes_on(here):
    first = Someone(here, "Anna")
    first.says("tie")
    second = Someone(here, " anna ", sure=False)
    assert (second.welcome.question, second.welcome.name) == ("in_use", "Anna")
    with pytest.raises(Refusal, match="Anna went on in another window"):
        second.page()
    held = first.page().item
    here.begin(second.ask(sure=True))
    with pytest.raises(Refusal, match="went on in another window") as caught:
        first.says("tie")
    assert caught.value.kind == "session"
    assert second.page().item == held


def test_a_name_that_judged_before_is_asked_whether_it_is_the_same_person(source, tmp_path):
    with room(source, tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        anna.says("tie")
        opened.desk.leave(anna.ask())
        assert opened.desk.begin(anna.ask()).question == ""  # the same window, loaded anew
    with room(source, tmp_path) as opened:
        other = Someone(opened.desk, "anna", sure=False)
        assert other.welcome.question == "known"
        assert "anna has judged here before, 1 times" in other.welcome.says


def test_who_left_holds_nothing_back(source, tmp_path):
    with room(pairs_file(tmp_path / "one.jsonl", 1), tmp_path) as opened:
        anna, ben = Someone(opened.desk, "anna"), Someone(opened.desk, "ben")
        assert anna.page().item
        assert ben.page().item is None
        opened.desk.leave(anna.ask())
        assert ben.page().item


def test_a_page_that_is_loaded_anew_is_no_stranger_and_the_old_page_s_late_farewell_ends_nothing(here):
    anna = Someone(here, "anna")
    anna.says("tie")
    old = anna.ask()
    anna.session += ".2"
    assert here.begin(anna.ask()).question == ""
    here.leave(old)
    assert anna.page().item


def test_a_source_that_is_changed_meanwhile_is_told_and_goes_on_as_it_was(here, source, tmp_path):
    anna = Someone(here, "anna")
    assert anna.page().notices == []
    pairs_file(Path(source), 3)
    assert "was changed since it was opened" in anna.page().notices[0]
    for _ in range(10):
        page = anna.says("tie")
    assert page.progress.done == 10
    Path(source).unlink()
    assert "was changed" in anna.page().notices[0]


def test_judgements_of_items_that_are_gone_stay_and_are_told(source, tmp_path):
    with room(source, tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        for _ in range(10):
            anna.prefers("yes")
    with room(pairs_file(Path(source), 4), tmp_path) as opened:
        [notice] = opened.desk.notices
        assert notice.startswith(f"6 judged items are no longer in {source}")
        assert Someone(opened.desk, "anna").page().progress.done == 4
    assert len(pairs_of_judged(kept(tmp_path)).pairs) == 10
    assert [(opened.items, opened.mode) for opened in kept(tmp_path).opened] == [(10, "compare"), (4, "compare")]


def test_a_file_of_judgements_that_is_moved_away_is_told_and_loses_nothing(here, tmp_path):
    anna = Someone(here, "anna")
    (tmp_path / "j.jsonl").rename(tmp_path / "moved.jsonl")
    assert "was moved or removed" in anna.says("tie").notices[0]
    assert len(read_judged([tmp_path / "moved.jsonl"]).standing()) == 1


def test_a_judgement_that_cannot_be_saved_is_not_shown_as_said(here, tmp_path, monkeypatch):
    anna = Someone(here, "anna")
    item = anna.page().item

    def full(data):
        raise InfraError("nothing was saved: No space left on device", where="j.jsonl", do="free space")

    monkeypatch.setattr(here.file, "add", full)
    with pytest.raises(InfraError, match="nothing was saved"):
        anna.says("tie")
    monkeypatch.undo()
    assert (anna.page().item, anna.page().progress.done) == (item, 0)


def test_what_the_source_knows_of_an_item_that_was_imported_first_is_kept_once(tmp_path):
    row = {"prompt": "?", "chosen": "a", "rejected": "b", "chosen_model": "gold", "source": "support", "id": "row-7"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    with room(str(tmp_path / "p.jsonl"), tmp_path, overlap=1.0) as opened:
        [item] = opened.desk.source.items.values()
    bare = JudgedItem(item.prompt, item.answers)
    with AppendOnlyFile(tmp_path / "j.jsonl") as file:
        file.add(written(bare, says(bare, "ben", "first")))
    with room(str(tmp_path / "p.jsonl"), tmp_path, overlap=1.0) as opened:
        anna = Someone(opened.desk, "anna")
        anna.prefers("a")
        anna.undo()
        anna.prefers("a")
    assert kept(tmp_path).items[item.id] == item
    assert (tmp_path / "j.jsonl").read_bytes().count(b'"kind": "item"') == 2


def test_an_item_that_is_not_there_is_refused(here):
    with pytest.raises(Refusal, match="not in what is judged here"):
        here.judge(Someone(here, "anna").ask(item="none", choice="tie"))


@pytest.mark.parametrize(
    ("text", "why"),
    [("no 0", "nothing was changed"), (" no 0\n", "nothing was changed"), ("  ", "the answer is empty")],
)
def test_an_edit_that_changes_nothing_is_refused(tmp_path, text, why):
    with room(pairs_file(tmp_path / "one.jsonl", 1), tmp_path, mode="edit") as opened:
        anna = Someone(opened.desk, "anna")
        with pytest.raises(Refusal, match=why):
            anna.says("edit", text=text)
        with pytest.raises(Refusal, match="does not fit"):
            anna.says("tie")
        assert anna.says("edit", text="No, 0.").item is None
    [pair] = pairs_of_judged(kept(tmp_path)).pairs
    assert (pair.chosen[0]["content"], pair.rejected[0]["content"], pair.meta["by"]) == ("No, 0.", "no 0", "correction")


def test_of_an_answer_that_thinks_first_what_it_says_alone_is_edited(tmp_path):
    answer = {"role": "assistant", "content": "no", "reasoning_content": "hm"}
    row = {"prompt": [{"role": "user", "content": "?"}], "chosen": [{**answer, "content": "yes"}], "rejected": [answer]}
    (tmp_path / "one.jsonl").write_text(json.dumps(row) + "\n")
    with room(str(tmp_path / "one.jsonl"), tmp_path, mode="edit") as opened:
        anna = Someone(opened.desk, "anna")
        shown = anna.page().item.left
        assert [(turn.role, turn.text) for turn in shown] == [("thoughts", "hm"), ("assistant", "no")]
        with pytest.raises(Refusal, match="nothing was changed"):
            anna.says("edit", text=shown[-1].text)
        anna.says("edit", text=f"{shown[-1].text}, never")
    [pair] = pairs_of_judged(kept(tmp_path)).pairs
    assert pair.chosen == ({**answer, "content": "no, never"},)


def test_answers_that_nobody_compared_are_judged_two_by_two(tmp_path):
    rows = [{"prompt": "a?", "answers": ["1", "2", "3", "4"]}, {"prompt": "b?", "answers": ["5"]}, {"prompt": "a?"}]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with room(str(tmp_path / "answers.jsonl"), tmp_path) as opened:
        texts = [{answer[0]["content"] for answer in item.answers} for item in opened.desk.source.items.values()]
        reasons = [row.reason for row in opened.desk.source.left_out]
    assert sorted(set().union(*texts)) == ["1", "2", "3", "4"]
    assert len(texts) == 2
    assert reasons[1] == "it has one answer: there is nothing to compare"
    assert reasons[0].startswith("missing column")


@pytest.mark.parametrize(
    ("options", "why", "do"),
    [
        ({"mode": "edit", "to": "edits"}, None, None),
        ({"mode": "edit"}, "in this file two answers were compared", "leave --edit out"),
        ({"mode": "edit", "overlap": 0.2}, "--overlap is for comparing", "leave --overlap out"),
        ({"to": "pairs.jsonl"}, "cannot stand in the file that is judged", "name another file with --to"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_page_is_opened(source, tmp_path, options, why, do):
    with room(source, tmp_path):
        pass
    options = {**options, **({"to": tmp_path / options["to"]} if "to" in options else {})}
    if why is None:
        with room(source, tmp_path, **options):
            return
    with pytest.raises(InputError, match=why) as caught, room(source, tmp_path, **options):
        pass
    assert do in caught.value.do


@pytest.mark.parametrize("words", ['{"lr": 1e-4}', '{\n "lr": 1e-4\n}', "a note"])
def test_a_file_of_something_else_is_refused_and_stays_as_it_is(source, tmp_path, words):
    (tmp_path / "j.jsonl").write_text(words)
    with pytest.raises(InputError, match="not a line of judgements") as caught, room(source, tmp_path):
        pass
    assert caught.value.do.startswith("name a file of judgements")
    assert (tmp_path / "j.jsonl").read_text() == words


def test_a_last_judgement_without_its_end_is_kept_and_a_torn_one_is_cut_off(source, tmp_path):
    with room(source, tmp_path) as opened:
        anna = Someone(opened.desk, "anna")
        anna.says("tie")
        anna.says("bad")
    file = tmp_path / "j.jsonl"
    whole = file.read_bytes()
    for tail in (b"", b'\n{"kind": "judgement", "it'):
        file.write_bytes(whole[:-1] + tail)
        with room(source, tmp_path) as opened:
            assert Someone(opened.desk, "anna").page().progress.done == 2
        assert file.read_bytes() == whole


def test_a_file_of_judgements_is_no_source(source, tmp_path):
    with room(source, tmp_path) as opened:
        Someone(opened.desk, "anna").says("tie")
    with pytest.raises(InputError, match="this is a file of judgements"), room(str(tmp_path / "j.jsonl"), tmp_path):
        pass
