"""Which language a text is in, by script and function words, and whether that gives a side away.

A small detector of our own: Unicode scripts tell Chinese, Japanese, Korean, Thai, Greek, Hebrew and Hindi; the most
frequent words tell apart what shares a script. Of a few words or names it says `unknown`, on purpose.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.table import Block, Columns
from dpo_core.quality.words import SIDES, Hashes, Ints, TextArray, table_of, word_hashes

# ruff: noqa: RUF001  (letters that look like Latin ones are meant)
UNKNOWN = 0
FUNCTION_WORDS = {
    "en": "the of and to a in is that it was for on are with as be this have from or by not but what which you your "
    "an can they at i we there their if will has would when how do does my s t me he she his her them so no out "
    "up about into than who where why were been had did its us very just should could",
    "de": "der die und das den dem des ein eine einen einem einer eines ist nicht mit sich auch auf für als sie ich "
    "es wir sind zu von im oder aber wie kann werden wird dass haben nach bei aus zum zur du wenn diese dieser "
    "in an am um vor durch über unter gegen ohne was wer wo warum man war hat mir mich dir dich ihm ihn ihnen "
    "uns er weil wurde muss soll noch nur sehr so",
    "fr": "le la les des du une et est que qui dans pour pas sur avec au aux ce cette il elle nous vous je ne sont "
    "par plus ou mais être ont avoir leur ces c l d qu n s votre peut comme un de à en on se a y si te tu me "
    "ils elles lui j m t son sa ses mon ma mes nos notre vos leurs où quand donc car sans chez fait faut très "
    "aussi quel quelle",
    "es": "el la los las del una y es que en por con para no se lo su al como más pero sus este esta ser son está qué "
    "tu yo muy hay puede o sobre cuando también entre un unos unas de a me te le les nos si mi mis ella él sin "
    "desde hasta porque donde quién cómo cuándo dónde están ha han fue tiene puedes esto eso esa ese",
    "it": "il lo gli della delle dei del una è e che di non per con si sono come anche più ma nel nella questo questa "
    "da ha hanno essere al alla tra puoi o le i la l un uno d a in dello dell degli dal dalla dall dai ai alle "
    "agli all allo nei nelle nell negli sul sulla sulle sull sui se mi ti ci ne su suo sua mio mia tuo tua ed "
    "perché quando dove chi cosa quale molto poi può fa c ho era",
    "pt": "o os as da do das dos uma um e é que não em no na para com por se mais como mas ao à são ser está você seu "
    "sua isso pode ou também muito pelo pela a de me te ele ela nas nos num numa quando porque",
    "nl": "de het een en van is dat niet met op voor zijn te aan er ook maar als door bij naar om ik je hij wij "
    "worden wordt kan dit deze uit nog heeft hebben of over in die was me zo wat",
    "sv": "och att det som en är av för på med den till inte om ett har jag du han vi kan var från men så de eller "
    "när också bli blir detta vid efter man",
    "pl": "i w na nie się z do to że jest jak o za po dla od czy ale są przez był tym może co tego być lub oraz jego "
    "które który która przy",
    "tr": "ve bir bu için ile da de ne gibi daha çok en olarak olan var mi mı ama kadar sonra şey değil ben sen o "
    "olduğu veya nasıl her ki",
    "id": "dan yang di untuk dengan ini itu dari pada adalah tidak dalam akan atau ke juga dapat bisa saya anda oleh "
    "sebagai lebih karena ada mereka kami kita seperti",
    "vi": "và của là có không được cho các một những trong với để này người khi bạn tôi đã như về từ cũng nhiều hoặc "
    "thể hơn đó ra",
    "ru": "и в не на что с по как это для к из но он от о за все вы мы я у же так их или бы его может быть если",
    "uk": "і в не на що з та як це для до у але він від за ви ми я й їх або його може бути якщо є про",
    "ar": "في من على إلى أن هذا هذه التي الذي مع عن أو لا ما كان هو هي كما ذلك بين كل قد لم يمكن",
    "fa": "و در به از که این را است با برای آن یک می های بر تا هم شود شما یا اگر نیست",
}
BY_SCRIPT = ("zh", "ja", "ko", "th", "el", "he", "hi")
LANGUAGES = ("unknown", *FUNCTION_WORDS, *BY_SCRIPT)
LATIN, CYRILLIC, ARABIC, HAN, KANA, HANGUL, THAI, GREEK, HEBREW, DEVANAGARI = range(1, 11)
SCRIPTS = (
    ("[a-zA-Z\u00c0-\u024f\u1e00-\u1eff]", LATIN),
    ("[\u0400-\u052f]", CYRILLIC),
    ("[\u0600-\u06ff\u0750-\u077f]", ARABIC),
    ("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]", HAN),
    ("[\u3040-\u30ff]", KANA),
    ("[\u1100-\u11ff\uac00-\ud7af]", HANGUL),
    ("[\u0e00-\u0e7f]", THAI),
    ("[\u0370-\u03ff\u1f00-\u1fff]", GREEK),
    ("[\u0590-\u05ff]", HEBREW),
    ("[\u0900-\u097f]", DEVANAGARI),
)
OF_SCRIPT = {HAN: "zh", KANA: "ja", HANGUL: "ko", THAI: "th", GREEK: "el", HEBREW: "he", DEVANAGARI: "hi"}
SHARE = 0.6  # of a text's words that its main script must have
LEAST_WORDS = 2  # of a script that one language writes
LEAST_HITS, LEAST_RATE, LEAD = 2.0, 0.04, 1.5  # function words: weight, share of words, times the second language


class Lexicon(NamedTuple):
    """Function words by hash: `weights` is (words, LANGUAGES), a word of k languages 1/k for each; `maybe` a filter."""

    hashes: Hashes
    weights: NDArray[np.float64]
    maybe: NDArray[np.bool_]


def language_columns(block: Block) -> Columns:
    """`language_prompt`, `language_chosen`, `language_rejected`: indices into LANGUAGES (uint8)."""
    found = languages(block.texts)
    return {f"language_{side}": found[at::3].copy() for at, side in enumerate(SIDES)}


def languages(texts: TextArray) -> NDArray[np.uint8]:
    """The language of each text, as an index into LANGUAGES."""
    words, count = texts.words, len(texts)
    width = len(SCRIPTS) + 1
    script = _scripts()[texts.points[words.at]]
    scripts = np.bincount(words.owners * width + script, minlength=count * width).reshape(count, width)
    scripts[:, 0] = 0  # numbers
    scripts[:, KANA] += np.where(scripts[:, KANA] * 10 > scripts[:, HAN], scripts[:, HAN], 0)
    scripts[:, HAN] = np.where(scripts[:, KANA] * 10 > scripts[:, HAN], 0, scripts[:, HAN])
    main = scripts.argmax(axis=1)
    clear = scripts.max(axis=1, initial=0) >= np.maximum(LEAST_WORDS, SHARE * scripts.sum(axis=1))
    found = np.array([_index(OF_SCRIPT.get(number, "unknown")) for number in range(width)], dtype=np.uint8)[main]
    spoken = _by_function_words(texts)
    return np.where(clear, np.where(found == UNKNOWN, spoken, found), UNKNOWN).astype(np.uint8)


def is_function_word(hashes: Hashes) -> NDArray[np.bool_]:
    """Whether a word (by its hash) is a function word of some language."""
    known = np.zeros(len(hashes), dtype=np.bool_)
    known[_function_words(hashes)[0]] = True
    return known


def _function_words(hashes: Hashes) -> tuple[Ints, Ints]:
    """Which of the words are function words, and their rows in the lexicon."""
    lexicon = _lexicon()
    maybe = np.flatnonzero(lexicon.maybe[hashes & np.uint64(0xFFFF)])
    row = np.minimum(np.searchsorted(lexicon.hashes, hashes[maybe]), len(lexicon.hashes) - 1)
    same = lexicon.hashes[row] == hashes[maybe]
    return maybe[same], row[same]


def _by_function_words(texts: TextArray) -> NDArray[np.uint8]:
    words = texts.words
    word, row = _function_words(words.hashes)
    owner = words.owners[word]
    scores = np.stack(
        [np.bincount(owner, weights=weights[row], minlength=len(texts)) for weights in _lexicon().weights.T], axis=1
    )
    best = scores.argmax(axis=1)
    ordered = np.partition(scores, -2, axis=1)
    first, second = ordered[:, -1], ordered[:, -2]
    sure = (first >= LEAST_HITS) & (first >= LEAST_RATE * np.diff(words.bounds)) & (first >= LEAD * second)
    return np.where(sure, best, UNKNOWN).astype(np.uint8)


@lru_cache(maxsize=1)
def _lexicon() -> Lexicon:
    words = sorted({word for text in FUNCTION_WORDS.values() for word in text.split()})
    weights = np.zeros((len(words), len(LANGUAGES)))
    for language, text in FUNCTION_WORDS.items():
        for word in text.split():
            weights[words.index(word), _index(language)] = 1
    weights /= weights.sum(axis=1, keepdims=True)
    hashes = word_hashes(words)
    order = np.argsort(hashes)
    maybe = np.zeros(1 << 16, dtype=np.bool_)
    maybe[hashes & np.uint64(0xFFFF)] = True
    return Lexicon(hashes[order], weights[order], maybe)


@lru_cache(maxsize=1)
def _scripts() -> NDArray[np.uint8]:
    return table_of(*SCRIPTS)


def _index(language: str) -> int:
    return LANGUAGES.index(language)
