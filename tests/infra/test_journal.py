"""What a run has to tell MLflow, on disk: whole, in order, by content."""

import json
import threading

import pytest

from infra.tracking.journal import Journal, journals


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "spool", "run")


def metrics(step, **values):
    return {"kind": "metrics", "time": 1000 + step, "step": step, "values": values}


def steps(journal):
    return [entry["step"] for entry, _ in journal.waiting()]


def test_entries_wait_in_order_until_they_are_marked_and_the_journal_keeps_them_to_know_what_was_told(journal):
    for step in (1, 2, 3):
        journal.append(metrics(step, loss=0.5))
    *_, second, _ = journal.waiting()
    journal.mark(second.end)
    again = Journal(journal.spool, "run")  # as another process sees it
    assert steps(again) == [3]
    assert again.told().steps == {"loss": 3}


def test_a_line_that_a_crash_cut_short_is_left_out_and_what_comes_after_it_is_whole(journal):
    journal.append(metrics(1, loss=0.5))
    with (journal.folder / "journal.jsonl").open("a") as lines:
        lines.write(json.dumps(metrics(2, loss=0.4))[:25])
    assert steps(journal) == [1]
    journal.append(metrics(2, loss=0.4))
    assert steps(journal) == [1, 2]


def test_a_damaged_mark_makes_everything_wait_again(journal):
    journal.append(metrics(1, loss=0.5))
    [(_, end)] = journal.waiting()
    journal.mark(end)
    for damage in ("", "x", str(end + 1)):
        (journal.folder / "delivered").write_text(damage)
        assert steps(journal) == [1]


def test_many_writers_side_by_side_spoil_no_line(journal):
    def write(writer):
        for step in range(25):
            Journal(journal.spool, "run").append(metrics(step, writer=float(writer)))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    found = [(entry["values"]["writer"], entry["step"]) for entry, _ in journal.waiting()]
    assert sorted(found) == [(writer, step) for writer in range(4) for step in range(25)]
    assert [step for writer, step in found if writer == 2] == list(range(25))


def test_a_file_waits_as_it_was_when_it_was_logged_and_is_removed_with_its_entry(journal, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("first")
    entry = {"kind": "artifact", "time": 1, "sha256": "digest-of-first", "name": "report.html", "folder": ""}
    journal.append(entry, report)
    report.write_text("second")
    assert journal.file(entry).read_text() == "first"
    journal.tidy(ended=False)
    assert journal.file(entry).exists()  # it waits
    [(_, end)] = journal.waiting()
    journal.mark(end)
    journal.tidy(ended=False)
    assert not journal.file(entry).exists()


def test_an_ended_run_that_is_delivered_leaves_nothing_and_one_that_waits_stays(journal):
    journal.append({"kind": "status", "time": 1, "status": "FINISHED"})
    journal.tidy(ended=True)
    assert [one.run_id for one in journals(journal.spool)] == ["run"]
    [(_, end)] = journal.waiting()
    journal.mark(end)
    journal.tidy(ended=True)
    assert journals(journal.spool) == []
    assert not journal.folder.exists()
