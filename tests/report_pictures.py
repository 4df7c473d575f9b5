"""Pictures of the pages for docs/images: python -m tests.report_pictures docs/images [retrain.html [quality.html]]

Of a run's page and its data report where they are given; those of the data report alone are of made-up data, so that
every kind of finding is on them.
"""

import sys
import tempfile
from pathlib import Path

from tests.browser import Page, browser
from tests.dpo_core.report.report_data import full_page

Window = tuple[int, int, str | None, dict[str, object]]
# name: width, height, scroll to this part, how it is opened
MADE_UP: dict[str, Window] = {
    "quality-desktop": (1280, 900, None, {}),
    "quality-figures": (1280, 1150, "#shortcut", {}),
    "quality-dark": (1280, 1150, "#balance", {"dark": True}),
    "quality-phone": (390, 844, None, {}),
    "quality-print": (794, 1123, None, {"media": "print"}),
}
OF_A_RUN: dict[str, Window] = {
    "report": (1280, 1000, None, {}),
    "report-answers": (1280, 1000, "#answers", {}),
    "report-phone": (390, 844, None, {}),
    "report-dark": (1280, 1000, "#training", {"dark": True}),
}
OF_ITS_DATA: dict[str, Window] = {"report-data": (1280, 900, None, {})}


def take(tab: Page, page: Path, pictures: dict[str, Window], folder: Path) -> None:
    """All of these pictures of a page into `folder`."""
    for name, (width, height, part, options) in pictures.items():
        tab.open(page, width, height, **options)
        tab.value("document.documentElement.style.scrollBehavior = 'auto'")
        if options.get("media") == "print":
            tab.value("document.body.style.padding = '14mm'")  # the paper's margin
        if part:
            tab.value(f"document.querySelector('{part}').scrollIntoView()")
        tab.picture(folder / f"{name}.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, browser(Path(scratch) / "profile") as tab:
        made_up = Path(scratch) / "quality.html"
        made_up.write_text(full_page(), encoding="utf-8")
        given = [made_up, *(Path(name).resolve() for name in sys.argv[2:])]
        for page, pictures in zip(given, (MADE_UP, OF_A_RUN, OF_ITS_DATA), strict=False):
            take(tab, page, pictures, Path(sys.argv[1]))
