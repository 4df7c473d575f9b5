"""docs/curation.md has every key of a curation's recipe, and no other."""

from pathlib import Path

from dpo_core.curate.curation import Curation
from flows.cli.config import recipe_keys

PAGE = Path(__file__).parents[2] / "docs" / "curation.md"
ELSEWHERE = ("rewards.", "validation.", "encoding.")  # rewards.md, recipe.md


def rows():
    keys = [key for key in recipe_keys(Curation) if not key.name.startswith(ELSEWHERE)]
    kind = {key.name: key.type.replace("|", "\\|") for key in keys}
    return [f"| `{key.name}` | {kind[key.name]} | `{key.default}` | {key.description} |" for key in keys]


def test_the_table_of_keys_is_what_the_recipe_takes():
    found = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and line.count("|") > 4]
    assert found == rows()
