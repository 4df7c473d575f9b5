"""The pages in a real browser: nothing is fetched, nothing complains, nothing sticks out on a phone."""

from itertools import pairwise

import pytest

from tests.browser import PROGRAM, browser
from tests.dpo_core.report import run_data
from tests.dpo_core.report.report_data import full_page
from tests.dpo_core.report.run_data import full_run_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: install the package chromium to run this")
PAGES = {"quality": full_page, "run": full_run_page}
WINDOWS = {
    "desktop": (1280, 900, {}),
    "phone": (390, 844, {}),
    "dark": (1280, 900, {"dark": True}),
    "print": (760, 1000, {"media": "print"}),
}
# Contrast of every text with what is behind it, by WCAG 2's formula; below 4.5 it is listed.
CONTRAST = """
(() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = node => { for (; node; node = node.parentElement) {
    const c = channels(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const found = [];
  for (const node of document.querySelectorAll('main *:not(svg *)')) {
    if (![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
    const [a, b] = [light(channels(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in PAGES}
    for name, file in made.items():
        file.write_text(PAGES[name](), encoding="utf-8")
    return made


@pytest.fixture(params=PAGES)
def page_file(request, files):
    return files[request.param]


@pytest.fixture
def run_file(files):
    return files["run"]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_page_asks_for_nothing_complains_of_nothing_and_fits_with_all_its_text_readable(tab, page_file, window):
    # One opening for four claims: each costs a third of a second.
    tab.requests.clear()
    width, height, options = WINDOWS[window]
    tab.open(page_file, width, height, **options)
    assert tab.requests == [page_file.as_uri()]
    assert tab.complaints == []
    assert tab.value("document.documentElement.scrollWidth") == width, "nothing sticks out sideways"
    assert tab.value(CONTRAST) == [], "every text stands out from its background by 4.5"


@pytest.mark.parametrize("window", ["phone", "print"])
def test_on_a_phone_and_on_paper_no_table_is_cut_off(tab, page_file, window):
    width, height, options = WINDOWS[window]
    tab.open(page_file, width, height, **options)
    seen = "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
    assert tab.value(f"{seen}.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.ariaLabel)") == []


def test_verdict_findings_and_advice_are_on_the_first_screen(tab, files):
    tab.open(files["quality"], 1280, 900)
    lowest = "Math.max(...[...document.querySelectorAll('.first li')].map(e => e.getBoundingClientRect().bottom))"
    assert tab.value(lowest) <= 900


def test_verdict_and_the_condition_that_failed_are_on_the_first_screen(tab, run_file):
    tab.open(run_file, 1280, 900)
    lowest = "[...document.querySelectorAll('.verdict, .card.fail')].map(e => e.getBoundingClientRect().bottom)"
    assert max(tab.value(lowest)) <= 900


def test_headings_go_down_one_level_at_a_time_and_every_picture_has_words(tab, page_file):
    tab.open(page_file, 1280, 900)
    levels = tab.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    silent = "[...document.querySelectorAll('svg[role=img]')].filter(e => !e.getAttribute('aria-label')).length"
    assert tab.value(silent) == 0
    assert tab.value(
        "[...document.querySelectorAll('main > section, .first section')].every(e => e.ariaLabelledByElements.length)"
    )


def test_every_link_leads_to_a_place_on_the_page_to_the_data_report_or_to_mlflow(tab, page_file):
    tab.open(page_file, 1280, 900)
    links = tab.value("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    inside = [link for link in links if link.startswith("#")]
    assert tab.value(f"{inside}.filter(h => !document.querySelector(h))") == []
    away = {"../support-data-1/quality.html", run_data.DISPLAY["run_url"]} if page_file.stem == "run" else set()
    assert set(links) - set(inside) == away


def test_print_shows_the_rows_that_are_folded_on_the_screen(tab, files):
    seen = "document.querySelector('.evidence').checkVisibility()"
    tab.open(files["quality"], 1280, 900)
    assert tab.value(seen) is False
    tab.open(files["quality"], 760, 1000, media="print")
    assert tab.value(seen) is True


SEEN = """[...document.querySelectorAll('.answer h4')].filter(e => e.checkVisibility()).map(e => e.innerText)"""
SAMPLE = "Tell me a joke. REPEATS ITSELF"


@pytest.mark.parametrize(
    ("show", "of", "seen"),
    [
        (None, None, ["What is 2 + 2? NOW WRONG", SAMPLE]),  # as it is opened: what got worse
        ("won", None, ["What is your name? NOW RIGHT", SAMPLE]),
        ("missed", 1, ["What is 2 + 2? NOW WRONG", "Who made you? WRONG EMPTY"]),
        ("unsound", None, ["Who made you? WRONG EMPTY", SAMPLE]),
        ("missed", 2, []),
        ("all", 3, [SAMPLE]),
    ],
)
def test_answers_are_filtered_by_what_became_of_them_and_by_their_prompts(tab, run_file, show, of, seen):
    tab.open(run_file, 1280, 900)
    for id in (show and f"show-{show}", of and f"suite-{of}"):
        if id:
            tab.value(f"document.getElementById('{id}').click()")
    assert tab.value(SEEN) == seen
    nothing = "[...document.querySelectorAll('.nothing')].filter(e => e.checkVisibility()).length"
    assert tab.value(nothing) == {("missed", 2): 1, ("all", 3): 0, ("missed", 1): 0}.get((show, of), 1)
