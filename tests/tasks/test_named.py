"""Files that a recipe names are read, for their faults, before anything is done."""

import pytest

from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from tasks.runtime.named import digests_of


def test_neutral_text_that_is_not_utf8_is_told_with_its_line(tmp_path):
    (tmp_path / "neutral.txt").write_bytes("The sea is blue.\n\nDer Himmel ist grün.\n".encode("latin-1"))
    named = {"name": "n", "model": "m", "data": {"train": "t"}}
    recipe = Recipe(**named, evaluation={"neutral_text": str(tmp_path / "neutral.txt")})
    with pytest.raises(InputError, match="not UTF-8 text: invalid") as caught:
        digests_of(recipe, [])
    assert caught.value.where == f"{tmp_path}/neutral.txt:3"
