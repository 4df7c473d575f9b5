"""What a run logs, on disk: whole, in order, by content."""

import threading

import pytest

from infra.tracking.entries import ArtifactEntry, MetricsEntry, StatusEntry
from infra.tracking.journal import Journal, LoggedState, journals


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "spool", "run")


def metrics(step, **values):
    return MetricsEntry(time=1000 + step, step=step, values=values)


def steps(journal):
    return [entry.step for entry, _ in journal.waiting()]


def test_entries_wait_in_order_until_they_are_marked_and_the_journal_keeps_them_to_know_what_was_logged(journal):
    for step in (1, 2, 3):
        journal.append(metrics(step, loss=0.5))
    *_, second, _ = journal.waiting()
    journal.mark(second.end)
    again = Journal(journal.spool, "run")  # as another process sees it
    assert steps(again) == [3]
    assert again.logged().steps == {"loss": 3}


def test_a_line_that_a_crash_cut_short_is_left_out_and_what_comes_after_it_is_whole(journal):
    journal.append(metrics(1, loss=0.5))
    with (journal.folder / "journal.jsonl").open("a") as lines:
        lines.write(metrics(2, loss=0.4).to_line()[:25])
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
    found = [(entry.values["writer"], entry.step) for entry, _ in journal.waiting()]
    assert sorted(found) == [(writer, step) for writer in range(4) for step in range(25)]
    assert [step for writer, step in found if writer == 2] == list(range(25))


def test_a_file_waits_as_it_was_when_it_was_logged_and_is_removed_with_its_entry(journal, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("first")
    entry = ArtifactEntry(time=1, sha256="digest-of-first", name="report.html", folder="")
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
    journal.append(StatusEntry(time=1, status="FINISHED"))
    journal.tidy(ended=True)
    assert [one.run_id for one in journals(journal.spool)] == ["run"]
    [(_, end)] = journal.waiting()
    journal.mark(end)
    journal.tidy(ended=True)
    assert journals(journal.spool) == []
    assert not journal.folder.exists()


AN_EARLIER_JOURNAL = """\
{"kind": "opened", "time": 1790000000000, "server": "sqlite:////x/mlflow.db", "steps": {"loss": 4}, "tags": {"a": "1"}}
{"kind": "status", "time": 1790000000001, "status": "RUNNING"}
{"kind": "params", "time": 1790000000002, "values": {"training.beta": "0.1", "name": "Athéne"}}
{"kind": "tags", "time": 1790000000003, "values": {"verdict": "hold"}}
{"kind": "metrics", "time": 1790000000004, "values": {"loss": 0.1, "lr": 5e-05}, "step": 5}
{"kind": "artifact", "time": 1790000000005, "sha256": "00", "name": "report.html", "folder": "reports"}
{"kind": "dataset", "time": 1790000000006, "values": {"name": "d", "digest": "0"}, "tags": {"sha256": "00"}}
{"kind": "status", "time": 1790000000007, "status": "FINISHED"}
"""


def test_a_journal_of_an_earlier_version_is_read_and_written_byte_for_byte(journal):
    journal.folder.mkdir(parents=True)
    lines = journal.folder / "journal.jsonl"
    lines.write_text(AN_EARLIER_JOURNAL, encoding="utf-8")
    entries = [entry for entry, _ in journal.waiting()]
    kinds = ["opened", "status", "params", "tags", "metrics", "artifact", "dataset", "status"]
    assert [entry.kind for entry in entries] == kinds
    tags = {"a": "1", "verdict": "hold"}
    assert journal.logged() == LoggedState("sqlite:////x/mlflow.db", {"loss": 5, "lr": 5}, tags, ended=True)
    again = Journal(journal.spool, "again")
    for entry in entries:
        again.append(entry)
    assert (again.folder / "journal.jsonl").read_bytes() == lines.read_bytes()


@pytest.mark.parametrize("line", ["", "null", '"text"', "{", '{"kind": "metrics"}', '{"kind": "unknown", "time": 1}'])
def test_a_line_that_is_no_entry_is_left_out_and_what_comes_after_it_is_read(journal, line):
    journal.append(metrics(1, loss=0.5))
    with (journal.folder / "journal.jsonl").open("a") as lines:
        lines.write(f"{line}\n")
    journal.append(metrics(2, loss=0.4))
    assert steps(journal) == [1, 2]


def test_no_number_that_json_lacks_is_written(journal):
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(metrics(1, loss=float("nan")))
