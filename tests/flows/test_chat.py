"""`dpo chat` through a pipe: turns, commands, two models, a full context."""

import io
import sys

import pytest

from flows.cli.app import run
from flows.cli.chat import Conversation, talk
from tests.tiny import build_saying


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

    def reply(self, messages, *, max_new_tokens):
        yield from (f"{message['role']}={message['content']} " for message in messages)


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
        def reply(self, messages, *, max_new_tokens):
            yield "begun"
            raise KeyboardInterrupt

    conversation = Conversation(Slow(), 4)
    assert list(conversation.say("go")) == ["begun", " [cut short]"]
    conversation.speaker = Echo()
    assert "".join(conversation.say("on")) == "user=go assistant=begun user=on "


def test_streamed_pieces_are_the_greedy_answer(tiny_model):
    from dpo_core.model.answers.answers import texts
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.load import load_model
    from tasks.commands.chat import load_speaker

    messages = [{"role": "user", "content": "What is your name?"}]
    pieces = "".join(load_speaker(str(tiny_model)).reply(messages, max_new_tokens=8))
    whole = texts(load_model(tiny_model), load_tokenizer(tiny_model), [messages], max_new_tokens=8)
    assert pieces.strip() == whole[0]


@pytest.mark.parametrize("special", [True, False])
def test_a_reply_ends_with_the_turn_and_without_the_token_that_ends_it(tmp_path, special):
    from tasks.commands.chat import load_speaker

    folder = build_saying(tmp_path / "model", "yes", "BoW", special=special, num_beams=4, repetition_penalty=9.0)
    reply = load_speaker(str(folder)).reply([{"role": "user", "content": "Is it Bob?"}], max_new_tokens=24)
    assert "".join(reply) == "yes"


def test_a_conversation_longer_than_the_context_is_explained_and_taken_back(tiny_model, said):
    out, _ = said(["x" * 2000, "hi"], [tiny_model])
    assert "tokens, the model reads 1024: /reset starts a new one]" in out.replace("\n", " ")
    assert out.count("/reset starts a new one") == 1  # the second turn was answered


def test_a_closed_reply_stops_the_generation(tiny_model):
    import threading

    from tasks.commands.chat import load_speaker

    reply = load_speaker(str(tiny_model)).reply([{"role": "user", "content": "hi"}], max_new_tokens=900)
    next(reply)
    reply.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_model_that_is_not_there_is_exit_2(capfd):
    assert run(["chat", "./nowhere"]) == 2
    assert "there is no such model" in capfd.readouterr().err


def test_a_tokenizer_without_chat_template_is_explained(tiny_model, tmp_path, said):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    out, _ = said(["hi"], [folder])
    assert "no chat template" in out
