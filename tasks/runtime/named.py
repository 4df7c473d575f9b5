"""What a recipe names, by what it holds: files, suites, and where pairs come from."""

import glob
from collections.abc import Sequence
from pathlib import Path

from dpo_core.data.digests import digest_file
from dpo_core.data.hub import is_hub_name
from dpo_core.data.sources import is_address
from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import read_checks, read_paragraphs
from dpo_core.recipe import Recipe
from tasks.runtime.sources import version_of_source


def digests_of(recipe: Recipe, sources: Sequence[str]) -> dict[str, str]:
    """Of these sources of pairs and every other file that the recipe names; its texts are read, for their faults."""
    files = {path: digest_file(Path(path)) for path in _files(recipe, sources)}
    files |= {source: version_of_source(source) for source in sources}
    for path in recipe.evaluation.suites.values():
        read_checks(path)
    if recipe.evaluation.neutral_text is not None:
        read_paragraphs(recipe.evaluation.neutral_text)
    return files


def _files(recipe: Recipe, sources: Sequence[str]) -> list[str]:
    paths = [*(path for path in sources if _is_plain(path)), recipe.evaluation.neutral_text, recipe.evaluation.rewards]
    paths += recipe.validation.benchmarks.values()
    paths += [*recipe.evaluation.behaviour.values(), *recipe.evaluation.retention.values()]
    named = [path for path in paths if path is not None]
    for path in named:
        if not Path(path).is_file():
            raise InputError(
                "a file that the recipe names is missing",
                where=path,
                do="check the path; it is meant from the recipe's folder",
            )
    return named


def _is_plain(source: str) -> bool:
    """A path of one file, not a folder, a pattern, or an address."""
    if is_address(source) or is_hub_name(source):
        return False
    return not glob.has_magic(source) and not Path(source).is_dir()
