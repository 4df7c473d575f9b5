"""Words of any language, as the checks on text see them."""

import re

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
CJK = re.compile(f"[{_CJK}]")
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)


def words(text: str) -> list[str]:
    """Case-folded words in order; each Chinese, Japanese or Korean character is one."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text.casefold())


def count_words(text: str) -> int:
    """Words between spaces; each Chinese, Japanese or Korean character counts as one more."""
    return len(text.split()) + (0 if text.isascii() else len(CJK.findall(text)))
