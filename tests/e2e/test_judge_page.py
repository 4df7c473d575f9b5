"""The page of `dpo judge` in a real browser, by keyboard alone: two people, fifty judgements, and a kill -9 midway."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from dpo_core.judging.lines import read_judged
from tasks.judging.files import report_judgements
from tests.browser import PROGRAM, browser
from tests.dpo_core.report.test_report_browser import CONTRAST
from tests.judging_pictures import answering, sit_down
from tests.tasks.judging_room import Someone, pairs_file, room

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: install the package chromium to run this")
TRAPS = [
    "<script>window.trapped = 1</script>",
    "<img src=/api/x onerror='window.trapped = 1'>",
    "</div></article><iframe srcdoc='<script>parent.trapped = 1</script>'></iframe>",
    "<a href='javascript:window.trapped = 1'>here</a><style>* { display: none }</style>",
    "${window.trapped = 1} {{window.trapped = 1}} \u202e \u0007",
]
KEYS = {"left": "ArrowLeft", "right": "ArrowRight", "tie": "t", "bad": "x"}
ITEMS = 30


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@contextmanager
def program(folder):
    """`dpo judge pairs.jsonl` in a process of its own: its process id and its address."""
    command = [sys.executable, "-m", "tests.e2e.judge_page", str(folder / "pid"), "judge", str(folder / "pairs.jsonl")]
    command += ["--to", str(folder / "j.jsonl"), "--overlap", "0.66"]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
    try:
        address = next(found[1] for line in process.stdout if (found := re.search(r"(http://127\S+)", line)))
        yield int((folder / "pid").read_text()), address
    finally:
        if process.poll() is None:
            process.terminate()  # as Ctrl-C does
        process.stdout.read()
        process.wait()


def judge(tab, count, choice_of):
    """By keyboard; how many were judged and shown as such."""
    for number in range(count):
        left = tab.value("$('left').querySelector('.text').textContent")
        before = tab.value("state.page.item.id")
        tab.press(KEYS[choice_of(number, left.startswith("yes"))])
        tab.until(f"!state.busy && state.page.item?.id !== {json.dumps(before)}")
        if tab.value("!state.page.item"):
            return number + 1
    return count


def anna(number, yes_is_left):
    """Prefers yes, but for every sixth: a tie."""
    return "tie" if number % 6 == 5 else ("left" if yes_is_left else "right")


def ben(number, yes_is_left):
    """Prefers yes, but for every fourth: both are bad."""
    return "bad" if number % 4 == 3 else ("left" if yes_is_left else "right")


@pytest.fixture(scope="module")
def judged(tab, tmp_path_factory):
    """Fifty judgements of two people, the first ones by a program that was killed with one on its way."""
    folder = tmp_path_factory.mktemp("judging")
    rows = [
        {
            "prompt": f"question {n}? {TRAPS[n % 5]}",
            "chosen": f"yes {n} {TRAPS[n % 5]}",
            "rejected": f"no {n} {TRAPS[-n % 5]}",
        }
        for n in range(ITEMS)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with program(folder) as (pid, address):
        sit_down(tab, address, "anna")
        assert judge(tab, 15, anna) == 15
        complaints = list(tab.complaints)
        tab.press("ArrowLeft")
        os.kill(pid, signal.SIGKILL)
    with (folder / "j.jsonl").open("ab") as file:
        file.write(b'{"kind": "judgement", "it')  # as a kill in the middle of a write leaves it
    kept = len(read_judged([folder / "j.jsonl"]).standing())
    assert kept in (15, 16)  # all that were shown as judged, and perhaps the one on its way
    tab.complaints.clear()
    with program(folder) as (_, address):
        sit_down(tab, address, "anna")
        question = tab.value("$('question').textContent")
        tab.press("Enter")
        tab.until("!state.busy && !$('item').hidden")
        assert kept + judge(tab, ITEMS - kept, anna) == ITEMS
        sit_down(tab, address, "ben")
        seen = judge(tab, ITEMS, ben)
        tab.press("g")
        tab.until("$('report').open")
        report = tab.value("$('report-body').innerText")
        tab.press("Enter")
        tab.until("!$('report').open")
        tab.press("d")
        tab.until("!state.busy && state.view === 'settle' && !$('item').hidden")
        contrast = tab.value(CONTRAST)
        complaints += tab.complaints
        trapped = tab.value(
            "[typeof window.trapped, document.querySelectorAll('main img, main iframe, main a').length]"
        )
    return {
        "file": folder / "j.jsonl",
        "ben": seen,
        "question": question,
        "report": report,
        **{"contrast": contrast, "complaints": complaints, "trapped": trapped},
    }


def test_every_judgement_that_was_shown_as_such_is_in_the_file_after_a_kill(judged):
    standing = read_judged([judged["file"]]).standing()
    assert [said.by for said in standing] == ["anna"] * ITEMS + ["ben"] * judged["ben"]
    assert len(standing) >= 45
    assert "anna has judged here before" in judged["question"]


def test_the_page_shows_kappa_with_its_interval_as_the_file_gives_it(judged):
    [both] = report_judgements([str(judged["file"])]).pairs
    assert both.items == judged["ben"]
    kappa = both.kappa
    assert f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})" in judged["report"]


def test_an_answer_full_of_markup_is_text_and_does_nothing(judged):
    assert judged["trapped"] == ["undefined", 0]
    of_the_kill = ("net::ERR_CONNECTION", "net::ERR_SOCKET_NOT_CONNECTED", "net::ERR_EMPTY_RESPONSE")
    assert [says for says in judged["complaints"] if not any(error in says for error in of_the_kill)] == []
    words = read_judged([judged["file"]]).judged_items()[0].prompt[0]["content"]
    assert any(trap in words for trap in TRAPS)


def test_every_text_of_the_page_stands_out_from_its_background_by_4_5(judged):
    assert judged["contrast"] == []


def test_who_settles_what_somebody_settled_meanwhile_is_told_and_shown_the_next(tab, tmp_path):
    pairs_file(tmp_path / "p.jsonl", 4)
    with room(str(tmp_path / "p.jsonl"), tmp_path, overlap=1.0) as opened, answering(opened):
        people = {name: Someone(opened.desk, name) for name in ("anna", "ben")}
        for _ in range(2):
            people["anna"].prefers("yes")
            people["ben"].prefers("no")
        sit_down(tab, opened.url, "cleo")
        tab.press("d")
        tab.until("!state.busy && state.view === 'settle' && !$('item').hidden")
        before = tab.value("state.page.item.id")
        people["anna"].prefers("yes", "settle")
        tab.press("t")
        tab.until(f"!state.busy && state.page.item.id !== {json.dumps(before)}")
        assert tab.value("$('trouble').innerText").startswith("anna has settled this meanwhile")
        tab.press("t")
        tab.until("!state.busy && !state.page.item")
        assert tab.value("$('trouble').hidden")
    assert [said.by for said in read_judged([tmp_path / "j.jsonl"]).standing() if said.settles] == ["anna", "cleo"]


def test_a_phone_shows_it_without_anything_sticking_out(tab, judged, tmp_path):
    pairs_file(tmp_path / "p.jsonl", 3)
    with room(str(tmp_path / "p.jsonl"), tmp_path, mode="edit") as opened, answering(opened):
        sit_down(tab, opened.url, "cleo")
        tab.open("about:blank", 390, 844)
        tab.open(opened.url, 390, 844)
        tab.until("!$('item').hidden")
        assert tab.value("document.documentElement.scrollWidth") == 390
        tab.press("e")
        tab.type(" and more")
        tab.press("Enter", ctrl=True)
        tab.until("!state.busy && state.page.progress.done === 1")
        tab.press("u")
        tab.until("!state.busy && state.page.progress.done === 0")
        assert tab.value("$('text').value").endswith(" and more")
