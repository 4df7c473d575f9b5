"""The pages in a real browser: nothing is fetched, nothing complains, nothing sticks out on a phone."""

from itertools import pairwise

import pytest

from tests.browser import PROGRAM, browser
from tests.dpo_core.report.report_data import full_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: install the package chromium to run this")
WINDOWS = {"desktop": (1280, 900, {}), "phone": (390, 844, {}), "dark": (1280, 900, {"dark": True})}
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
def page_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "quality.html"
    file.write_text(full_page(), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.mark.parametrize("window", WINDOWS)
def test_no_request_leaves_the_file_and_the_console_is_silent(tab, page_file, window):
    tab.requests.clear()
    width, height, options = WINDOWS[window]
    tab.open(page_file, width, height, **options)
    assert tab.requests == [page_file.as_uri()]
    assert tab.complaints == []


@pytest.mark.parametrize("window", WINDOWS)
def test_nothing_sticks_out_sideways(tab, page_file, window):
    width, height, options = WINDOWS[window]
    tab.open(page_file, width, height, **options)
    assert tab.value("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("window", WINDOWS)
def test_every_text_stands_out_from_its_background_by_4_5(tab, page_file, window):
    width, height, options = WINDOWS[window]
    tab.open(page_file, width, height, **options)
    assert tab.value(CONTRAST) == []


def test_verdict_findings_and_advice_are_on_the_first_screen(tab, page_file):
    tab.open(page_file, 1280, 900)
    lowest = "Math.max(...[...document.querySelectorAll('.first li')].map(e => e.getBoundingClientRect().bottom))"
    assert tab.value(lowest) <= 900


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


def test_every_link_leads_to_a_place_on_the_page(tab, page_file):
    tab.open(page_file, 1280, 900)
    astray = (
        "[...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(h => !document.querySelector(h))"
    )
    assert tab.value(astray) == []


def test_print_shows_the_rows_that_are_folded_on_the_screen(tab, page_file):
    seen = "document.querySelector('.evidence').checkVisibility()"
    tab.open(page_file, 1280, 900)
    assert tab.value(seen) is False
    tab.open(page_file, 760, 1000, media="print")
    assert tab.value(seen) is True
