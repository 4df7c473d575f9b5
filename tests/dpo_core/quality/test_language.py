"""Languages by script and function words, and whether the language gives a side away."""

import numpy as np
import pytest

from dpo_core.quality.checks.languages import CHECK
from dpo_core.quality.text.language import LANGUAGES, languages
from dpo_core.quality.words import TextArray
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import as_pairs, make_pair, measured, null_texts, run_check, severities

# ruff: noqa: RUF001  (letters that look like Latin ones are meant)
# one sentence each, written for this test
SENTENCES = {
    "en": "The answer to this question is not as simple as it looks, but you can find it in the book.",
    "de": "Die Antwort auf diese Frage ist nicht so einfach, wie sie aussieht, aber man findet sie im Buch.",
    "fr": "La réponse à cette question n'est pas aussi simple, mais vous pouvez la trouver dans le livre.",
    "es": "La respuesta a esta pregunta no es tan fácil como parece, pero se puede encontrar en el libro.",
    "it": "La risposta a questa domanda non è così semplice come sembra, ma si può trovare nel libro.",
    "pt": "A resposta para essa pergunta não é tão simples como parece, mas você pode achar isso no livro.",
    "nl": "Het antwoord op deze vraag is niet zo eenvoudig als het lijkt, maar je kan het in dit boek vinden.",
    "sv": "Svaret på den frågan är inte så enkelt som det verkar, men du kan hitta det i boken.",
    "pl": "Odpowiedź na to pytanie nie jest tak prosta, jak się wydaje, ale można ją znaleźć w książce.",
    "tr": "Bu sorunun cevabı daha çok zaman alır ama kitapta olan bir bölüm bunun için iyi bir yerdir.",
    "id": "Jawaban untuk pertanyaan ini tidak mudah, tetapi anda dapat menemukan itu dalam buku yang ada di sana.",
    "vi": "Câu trả lời cho câu hỏi này không đơn giản, nhưng bạn có thể tìm được nó với một cuốn sách.",
    "ru": "Ответ на этот вопрос не так прост, как кажется, но вы можете найти его в книге.",
    "uk": "Відповідь на це питання не така проста, як здається, але ви можете знайти її у книзі, що є тут.",
    "ar": "الجواب على هذا السؤال ليس سهلا كما يبدو ولكن يمكن أن تجد ذلك في هذا الكتاب",
    "fa": "پاسخ این پرسش به آن سادگی نیست که به نظر می رسد اما آن را در کتاب پیدا می کنید",
    "zh": "这个问题的答案并不像看起来那么简单，但你可以在书里找到它。",
    "ja": "この質問の答えは見た目ほど簡単ではありませんが、本の中で見つけることができます。",
    "ko": "이 질문의 답은 보이는 것만큼 간단하지 않지만 책에서 찾을 수 있습니다.",
    "th": "คำตอบของคำถามนี้ไม่ง่ายอย่างที่คิด",
    "el": "Η απάντηση σε αυτή την ερώτηση δεν είναι τόσο απλή όσο φαίνεται.",
    "he": "התשובה לשאלה הזאת לא פשוטה כפי שהיא נראית.",
    "hi": "इस सवाल का जवाब उतना आसान नहीं है जितना दिखता है।",
}


def found(*texts):
    return [LANGUAGES[number] for number in languages(TextArray.of(texts))]


def checked(pairs):
    return run_check(CHECK, pairs)


def test_every_language_of_the_list_is_recognised():
    assert found(*SENTENCES.values()) == list(SENTENCES)


@pytest.mark.parametrize(
    "text", ["", "Paris", "42", "x = foo(bar)\nreturn baz", "w1 w2 w3 w4", "Berlin Hamburg Bremen"]
)
def test_what_no_language_can_be_told_from_is_unknown(text):
    assert found(text) == ["unknown"]


def test_a_chinese_answer_with_a_few_english_names_is_chinese():
    assert found("我们用 Python 写代码，用 Docker 部署，这样很方便") == ["zh"]


def mixed(better, worse, count, ask="en"):
    return [make_pair(f"{SENTENCES[ask]} {n}", SENTENCES[better], SENTENCES[worse]) for n in range(count)]


def test_answers_in_the_prompts_language_that_always_win_are_a_rule():
    pairs = [*mixed("en", "de", 20), *as_pairs(null_texts(0, 180))]
    results = checked(pairs)
    assert severities(results)["balance/prompt_language"] == "warn"
    finding = next(f for f in results[1] if f.check == "balance/prompt_language")
    # 20 of 20: p = 2 * 2^-20
    assert (finding.statistics["chosen_only"], finding.statistics["p"]) == (20, pytest.approx(2**-19))
    assert measured(results)["balance/language_sides"] == 0.1


def test_a_declared_language_is_told_without_a_warning():
    pairs = [*mixed("en", "de", 20), *as_pairs(null_texts(0, 180))]
    measures, findings = run_check(CHECK, pairs, Validation(intended=["language"]))
    assert {finding.severity for finding in findings} == {"info"}
    assert {measure.warn_above for measure in measures} == {None}
    assert [f.says.endswith("Declared as intended.") for f in findings if f.intended] == [True]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("it", "Versa l'acqua calda sulle foglie e aspetta quattro minuti."),
        ("es", "Puedes dar un paseo, leer un libro o llamar a un amigo."),
        ("fr", "Un voisin aide les enfants et leur parle de la ville."),
        ("de", "Was zieht man im Sommer an?"),
    ],
)
def test_a_short_sentence_is_told_by_articles_and_prepositions(language, text):
    assert found(text) == [language]


def test_as_many_wins_of_either_language_are_none():
    results = checked([*mixed("en", "de", 20), *mixed("de", "en", 20), *as_pairs(null_texts(0, 160))])
    assert severities(results)["balance/prompt_language"] == "info"


def test_the_same_prompt_twenty_times_counts_once():
    pairs = [make_pair(SENTENCES["en"], SENTENCES["en"], f"{SENTENCES['de']} {n}") for n in range(20)]
    assert severities(checked([*pairs, *as_pairs(null_texts(0, 100))]))["balance/prompt_language"] == "info"


def test_wordings_of_one_question_count_once():
    pairs = [*mixed("en", "de", 30), *as_pairs(null_texts(0, 270))]
    alone = np.arange(300)
    groups = np.where(alone < 30, 0, alone)  # as `group_prompts` has them: a number is all that they differ in
    found = [run_check(CHECK, pairs, more={"prompt_group": group}) for group in (groups, alone)]
    assert [severities(results)["balance/prompt_language"] for results in found] == ["info", "warn"]


def test_translations_are_no_mismatch_between_the_sides():
    results = checked(mixed("de", "de", 30))
    assert measured(results) == {"balance/language_sides": 0, "balance/prompt_language": 0}
    overview = results[1][-1]
    assert overview.statistics["answers_in_another_language"] == 30
    assert ("de", 0, 30, 30) in overview.tables[0].rows
