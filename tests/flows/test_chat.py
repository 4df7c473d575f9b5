"""`dpo chat` through a pipe: turns, commands, two models, a full context."""

import io
import sys

import pytest

from dpo_core.errors import InputError
from flows.cli.app import run
from flows.cli.chat import Conversation, talk
from tests.tiny import build_saying, build_tiny_model


@pytest.fixture
def said(monkeypatch, capsys):
    """Pipe lines in; get back what was written on stdout and stderr."""

    def exchange(lines, models, max_new_tokens=4):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
        talk([str(model) for model in models], max_new_tokens)
        return capsys.readouterr()

    return exchange


class Echo:
    """A speaker that answers with what it was given."""

    name = "echo"
    chats = True

    def reply(self, messages, show, *, max_new_tokens):
        for message in messages:
            show(f"{message['role']}={message['content']} ")


@pytest.fixture
def echo(monkeypatch):
    import tasks.commands.chat

    monkeypatch.setattr(tasks.commands.chat, "load_speaker", lambda model: Echo())


def test_a_conversation_is_remembered_until_reset(echo, said):
    out, _ = said(["one", "two", "/reset", "three", "/quit", "never"], ["m"])
    assert out.splitlines() == [
        "user=one ",
        "user=one assistant=user=one  user=two ",
        "user=three ",
    ]


def test_system_sets_the_system_prompt_and_reset_keeps_it(echo, said):
    out, err = said(["/system be brief", "a", "/reset", "b", "/nonsense"], ["m"])
    assert out.splitlines() == ["system=be brief user=a ", "system=be brief user=b "]
    assert "/system TEXT sets the system prompt" in err


def test_two_models_answer_side_by_side(echo, said):
    out, _ = said(["hello"], ["m", "n"])
    assert out.count("user=hello") == 2
    assert any(line.count("user=hello") == 2 for line in out.splitlines())


def test_ctrl_c_cuts_an_answer_short_and_keeps_what_was_said():
    class Slow(Echo):
        def reply(self, messages, show, *, max_new_tokens):
            show("begun")
            raise KeyboardInterrupt

    conversation, shown = Conversation(Slow(), 4), []
    conversation.say("go", shown.append)
    assert shown == ["begun", " [cut short]"]
    conversation.speaker = Echo()
    conversation.say("on", shown.append)
    assert "".join(shown[2:]) == "user=go assistant=begun user=on "


def test_streamed_pieces_are_the_greedy_answer(tiny_model):
    from dpo_core.model.answers.answers import texts
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.load import load_model
    from tasks.commands.chat import load_speaker

    messages, pieces = [{"role": "user", "content": "What is your name?"}], []
    load_speaker(str(tiny_model)).reply(messages, pieces.append, max_new_tokens=24)
    whole = texts(load_model(tiny_model), load_tokenizer(tiny_model), [messages], max_new_tokens=24)
    assert "".join(pieces).strip() == whole[0]
    assert len(pieces) > 1


@pytest.mark.parametrize("special", [True, False])
def test_a_reply_ends_with_the_turn_and_without_the_token_that_ends_it(tmp_path, special):
    from tasks.commands.chat import load_speaker

    folder = build_saying(tmp_path / "model", "yes", "BoW", special=special, num_beams=4, repetition_penalty=9.0)
    pieces = []
    load_speaker(str(folder)).reply([{"role": "user", "content": "Is it Bob?"}], pieces.append, max_new_tokens=24)
    assert "".join(pieces) == "yes"


def test_a_model_without_a_chat_template_is_refused_before_anything_is_said(tmp_path, said):
    folder = build_tiny_model(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template"):
        said(["hi"], [folder])


def test_a_conversation_longer_than_the_context_is_explained_and_taken_back(tiny_model, said):
    out, _ = said(["x" * 2000, "hi"], [tiny_model])
    assert "the model reads 1024 and none is left for an answer: /reset starts a new one]" in out.replace("\n", " ")
    assert out.count("/reset starts a new one") == 1  # the second turn was answered


def test_an_interruption_ends_the_answer_at_once_and_the_next_one_is_as_ever(tiny_model):
    from tasks.commands.chat import load_speaker

    speaker, asked, pieces, again = load_speaker(str(tiny_model)), [{"role": "user", "content": "hi"}], [], []

    def interrupted(piece):
        pieces.append(piece)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speaker.reply(asked, interrupted, max_new_tokens=900)
    assert len(pieces) == 1
    speaker.reply(asked, again.append, max_new_tokens=24)
    assert again[0] == pieces[0]


def test_a_model_that_is_not_there_is_exit_2(capfd):
    assert run(["chat", "./nowhere"]) == 2
    assert "there is no such model" in capfd.readouterr().err
