"""Pictures of the report for docs/images, of made-up data: python -m tests.report_pictures docs/images"""

import sys
import tempfile
from pathlib import Path

from tests.browser import Page, browser
from tests.dpo_core.report.report_data import full_page

# name: width, height, scroll to this part, how it is opened
PICTURES = {
    "quality-desktop": (1280, 900, None, {}),
    "quality-figures": (1280, 1150, "#shortcut", {}),
    "quality-dark": (1280, 1150, "#balance", {"dark": True}),
    "quality-phone": (390, 844, None, {}),
    "quality-print": (794, 1123, None, {"media": "print"}),
}


def take(tab: Page, page: Path, folder: Path) -> None:
    """All of PICTURES into `folder`."""
    for name, (width, height, part, options) in PICTURES.items():
        tab.open(page, width, height, **options)
        tab.value("document.documentElement.style.scrollBehavior = 'auto'")
        if options.get("media") == "print":
            tab.value("document.body.style.padding = '14mm'")  # the paper's margin
        if part:
            tab.value(f"document.querySelector('{part}').scrollIntoView()")
        tab.picture(folder / f"{name}.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, browser(Path(scratch) / "profile") as tab:
        page = Path(scratch) / "quality.html"
        page.write_text(full_page(), encoding="utf-8")
        take(tab, page, Path(sys.argv[1]))
