"""The language of one answer, for a rule that asks for one.

By py3langid's naive Bayes on characters (langid.py: Lui and Baldwin 2012, ACL). The data check's own detector
(`quality/text/language.py`) goes by function words over a million texts at a time, and leaves a short one undecided
where languages share its words: `Un hospital trabaja en la casa` is Spanish and French to it.
"""

from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from dpo_core.quality.text.language import LANGUAGES

LEAST = 0.35  # probability, calibrated by length; a name or a number has less


def language_of(answer: str) -> str:
    """One of LANGUAGES."""
    code, _ = _identifier().classify(answer)
    return str(code) if code in LANGUAGES else LANGUAGES[0]


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    found = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=LEAST)
    found.set_languages(LANGUAGES[1:])
    return found
