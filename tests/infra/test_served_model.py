"""What a registered version checks before it answers, what it answers, and what it refuses in words."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from openai.types.chat import ChatCompletion

from dpo_core.model.answers.answers import texts
from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.model.identity import digest_weights
from dpo_core.model.load import load_model
from dpo_core.model.remote_code import digest_code
from infra.registry import versions
from infra.registry.logged_model import LIMITS, _digests
from infra.registry.served_model import ChatModel
from infra.tracking.runs import open_run
from tests.tiny import bring_own_code, build_saying, build_tiny_model

ASKED = [{"role": "user", "content": "Who are you?"}]
SHORT = {"messages": ASKED, "max_tokens": 4}


def load(folder, **config):
    model = ChatModel()
    model.load_context(SimpleNamespace(artifacts={"checkpoint": str(folder)}, model_config=config))
    return lambda given, **params: model.predict(None, given, params)


@pytest.fixture(scope="module")
def ask(tiny_model):
    return load(tiny_model, **LIMITS)


@pytest.fixture
def own(tmp_path):
    """A model with code of its own, a folder beside it whose code leaves a trace, and that trace."""
    other = bring_own_code(build_tiny_model(tmp_path / "other"), tmp_path / "ran")
    return bring_own_code(build_tiny_model(tmp_path / "model"), tmp_path / "own"), other, tmp_path / "ran"


@pytest.mark.parametrize("special", [True, False])
def test_it_stops_where_evaluation_does_and_nothing_of_the_folder_decodes(tmp_path, special):
    folder = build_saying(tmp_path / "model", "yes", "BoW", special=special, num_beams=4, min_new_tokens=9)
    tokenizer = load_tokenizer(folder)
    values = json.loads((folder / "generation_config.json").read_text())
    values["eos_token_id"] = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])  # as training saves it
    (folder / "generation_config.json").write_text(json.dumps(values))
    assert load(folder)([ASKED], max_new_tokens=24) == ["yes"]
    assert texts(load_model(folder), tokenizer, [ASKED], max_new_tokens=24) == ["yes"]


def test_texts_conversations_frames_and_arrays_are_prompts(ask):
    [answer] = ask(["Who are you?"])
    for given in ("Who are you?", ASKED, [ASKED], np.array(["Who are you?"]), pd.DataFrame({"prompt": [ASKED]})):
        assert ask(given) == [answer]
    assert len(ask([ASKED, [{"role": "system", "content": "Be brief."}, *ASKED]])) == 2


def test_a_chat_request_is_answered_as_a_chat(ask):
    [text] = ask([ASKED], max_new_tokens=8)
    for length in ("max_tokens", "max_completion_tokens", "max_new_tokens"):
        done = ask({"messages": ASKED, length: 8, "model": "tiny", "temperature": 0, "stream": False})
        assert done["choices"] == [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        ]
    assert done["usage"]["completion_tokens"] == 8
    assert (done["object"], done["model"]) == ("chat.completion", "tiny")


def test_an_answer_ends_before_a_text_that_it_is_told_to_stop_at(tmp_path):
    ask = load(build_saying(tmp_path / "model", "yes", "BoW"))
    request = {"messages": ASKED, "max_tokens": 24, "user": "ada", "frequency_penalty": 0.0}
    whole = ask({**request, "stop": ["qq#qq"]})["choices"][0]
    assert whole["message"]["content"].startswith("yesBoW")
    for stop, kept in (("es", "y"), (["s", "es"], "y"), (["BoW"], "yes"), ("y", "")):
        [choice] = ask({**request, "stop": stop})["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (kept, "stop")


def test_parts_of_text_are_one_text(ask):
    parts = [{"type": "text", "text": "Who are"}, {"type": "text", "text": " you?"}]
    assert ask([[{"role": "user", "content": parts}]]) == ask([ASKED])


def test_it_computes_in_the_dtype_that_it_was_registered_with(tiny_model):
    import torch

    model = ChatModel()
    model.load_context(SimpleNamespace(artifacts={"checkpoint": str(tiny_model)}, model_config={"dtype": "bfloat16"}))
    assert next(model._model.parameters()).dtype == torch.bfloat16


@pytest.fixture(scope="module")
def served(tiny_model):
    """A registered version, a client of MLflow's own server of it, and the model's folder."""
    from mlflow.pyfunc import load_model as load_version
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    version = load_version(registered("served", tiny_model), model_config={"max_new_tokens": 16})
    return version, TestClient(scoring_server.init(version)), tiny_model


def test_a_chat_request_over_http_is_answered_as_a_chat_completion_of_openai(served):
    version, client, _ = served
    [text] = version.predict([ASKED], params={"max_new_tokens": 8})
    assert version.predict({"messages": ASKED, "max_tokens": 8})["choices"][0]["message"]["content"] == text
    done = client.post("/invocations", json={"messages": ASKED, "max_tokens": 8, "temperature": 0.0})
    completion = ChatCompletion.model_validate(done.json(), strict=True)
    assert completion.choices[0].message.content == text
    assert completion.usage.completion_tokens == 8


def test_a_history_of_tool_calls_is_read_as_in_training(served):
    call = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"city": "Riga"}'}}
    turns = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}]
    turns += [{"role": "tool", "content": "low", "tool_call_id": "c1"}]
    done = served[1].post("/invocations", json={"messages": turns, "max_tokens": 1})
    said = [{**turn, "content": turn["content"] or ""} for turn in turns]  # the template writes content alone
    assert done.json()["usage"]["prompt_tokens"] == len(encode_prompt(said, load_tokenizer(served[2])))
    refused = served[1].post("/invocations", json={"messages": [{**turns[1], "tool_calls": [{"name": 7}]}]})
    assert (refused.status_code, "tool call 0 of message 0 names no function" in refused.text) == (400, True)


def test_chat_requests_in_one_body_are_answered_in_order_each_as_it_is_alone(served):
    version, client, _ = served
    brief = [{"role": "system", "content": "Be brief."}, *ASKED]
    parts = [{"role": "user", "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": " tree"}]}]
    bodies = [
        {"messages": ASKED, "max_tokens": 8},
        {"messages": brief, "max_tokens": 4, "model": "tiny", "stop": ["qq#qq"]},
        {"messages": parts, "max_tokens": 6},
    ]
    alone = [client.post("/invocations", json=body).json() for body in bodies]
    done = client.post("/invocations", json={"inputs": bodies})
    assert done.status_code == 200, done.text
    together = [ChatCompletion.model_validate(one, strict=True) for one in done.json()["predictions"]]
    assert [one.choices[0].message.content for one in together] == [
        one["choices"][0]["message"]["content"] for one in alone
    ]
    assert [one.usage.completion_tokens for one in together] == [8, 4, 6]
    assert [one.model for one in together] == ["", "tiny", ""]
    assert [one["usage"] for one in version.predict(bodies)] == [one["usage"] for one in alone]
    [as_params_say] = version.predict([{"messages": ASKED}], params={"max_new_tokens": 3})
    assert as_params_say["usage"]["completion_tokens"] == 3


def test_of_several_requests_none_is_answered_where_one_cannot_be(tiny_model, monkeypatch):
    model = ChatModel()
    model.load_context(SimpleNamespace(artifacts={"checkpoint": str(tiny_model)}, model_config=LIMITS))
    monkeypatch.setattr(model._model, "generate", None)
    with pytest.raises(MlflowException, match="where: request 1: max_new_tokens"):
        model.predict(None, [{"messages": ASKED}, {"messages": ASKED, "max_tokens": 10**6}])


def test_what_a_version_takes_and_gives_is_in_its_signature(served):
    params = {spec.name: spec.default for spec in served[0].metadata.get_params_schema().params}
    assert params == {"max_new_tokens": 48, "temperature": 0.0, "top_p": 1.0}
    assert served[0].metadata.get_output_schema() is not None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": ASKED, "max_tokens": 17}, "ask for a whole number from 1 to 16"),
        ({"messages": ASKED, "max_tokens": 10**6}, "max_new_tokens is 1000000"),
        ({"messages": ASKED, "max_tokens": 0}, "max_new_tokens is 0"),
        ({"messages": ASKED, "max_tokens": "8"}, "max_new_tokens is"),
        ({"messages": ASKED, "tempreature": 1}, "the request has tempreature"),
        ({"messages": ASKED, "max_tokens": 8, "temperature": -1}, "temperature is -1"),
        ({"messages": ASKED, "max_tokens": 8, "top_p": 2}, "top_p is 2"),
        ({"messages": ASKED, "stop": ["a"] * 5}, "stop is"),
        ({"messages": ASKED, "stream": True}, "stream is True"),
        ({"messages": ASKED, "n": 2}, "n is 2"),
        ({"messages": ASKED, "logprobs": True}, "logprobs is True"),
        ({"messages": []}, "this is no conversation"),
        ({"messages": [{"role": "user"}]}, "this is no conversation"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "this is no conversation"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}]}, "no conversation"),
        ({"messages": [{"role": "user", "content": "x" * 200_000}]}, "has 200"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, "at most"),
        ({"inputs": ["x" * 200_000]}, "has 200"),
        ({"inputs": ["Hi"] * 65}, "65 prompts at once, at most 64"),
        ({"inputs": {"texts": ["a"]}}, "the request has"),
        ({"inputs": [None]}, "this is no conversation"),
        ({"inputs": ["Hi"], "params": {"max_new_tokens": 17}}, "max_new_tokens is 17"),
        ({"dataframe_records": [{"prompt": "a", "system": "b"}]}, "the frame has 2 columns: prompt, system"),
        ({"inputs": [SHORT, {"messages": ASKED, "max_tokens": 17}]}, "where: request 1: max_new_tokens"),
        ({"inputs": [{"messages": ASKED, "tempreature": 1}, {"messages": ASKED}]}, "where: request 0"),
        ({"inputs": [{"messages": []}, {"messages": ASKED}]}, "where: request 0: messages"),
        ({"inputs": [{"messages": ASKED}] * 65}, "65 prompts at once, at most 64"),
        ({"instances": [{"messages": ASKED}, {"messages": ASKED}]}, "this is no conversation"),
        ({"prompt": "Hi"}, ""),
        ({}, ""),
    ],
)
def test_a_bad_body_over_http_is_a_400_with_words(served, body, says):
    refused = served[1].post("/invocations", json=body)
    assert (refused.status_code, says in refused.text) == (400, True), refused.text


@pytest.mark.parametrize(
    ("given", "params", "says"),
    [
        (["Hi"], {"max_new_tokens": 1025}, "max_new_tokens is 1025"),
        (["Hi"], {"max_new_tokens": 0}, "max_new_tokens is 0"),
        (["Hi"], {"max_new_tokens": True}, "max_new_tokens is True"),
        (["Hi"], {"temperature": -1.0}, "temperature is -1.0"),
        (["Hi"], {"temperature": float("nan")}, "temperature is nan"),
        (["Hi"], {"top_p": 0.0}, "top_p is 0.0"),
        (["Hi"] * 65, {}, "65 prompts at once, at most 64"),
        (["x" * 2000], {}, r"the prompt has 20\d\d tokens, at most 1023 are read"),
        (["x" * 200_000], {}, r"the prompt has 200\d\d\d characters, at most 1023 tokens"),
        (7, {}, "the input is of type int"),
        ([7], {}, "this is no conversation: 7"),
        ([[]], {}, r"this is no conversation: \[\]"),
        ([[{"role": "user"}]], {}, "this is no conversation"),
        ([[{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}]], {}, "this is no conversation"),
        ([[{"role": "user", "content": []}]], {}, "this is no conversation"),
        ([[{"role": "narrator", "content": "a"}]], {}, "this is no conversation"),
        ([[{"role": "user", "content": "a", "image": "b"}]], {}, "this is no conversation"),
        (["Hi", None], {}, "this is no conversation: null"),
        ([{"messages": ASKED}, {"messages": ASKED, "n": 2}], {}, "where: request 1: n"),
        ([{"messages": ASKED}, {"role": "user", "content": "Hi"}], {}, "the request has content, role"),
        ([{"messages": ASKED}, {"messages": [{"role": "user", "content": "x" * 2000}]}], {}, "where: request 1\n"),
        ({"prompt": "Hi"}, {}, "the request has prompt"),
        ({}, {}, "the request has no messages"),
        ({"messages": "Hi", "stop": ["a"] * 5}, {}, "stop is"),
        ({"messages": "Hi", "stop": [""]}, {}, "stop is"),
        ({"messages": ASKED, "logprobs": True}, {}, "logprobs is True"),
        ({"messages": ASKED, "max_tokens": 10**6}, {}, "max_new_tokens is 1000000"),
        ({"messages": []}, {}, "this is no conversation"),
        ({"messages": ASKED, "stream": True}, {}, "stream is True"),
        ({"messages": ASKED, "n": 2}, {}, "n is 2"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_where_and_what_to_do(ask, given, params, says):
    with pytest.raises(MlflowException, match=says) as caught:
        ask(given, **params)
    assert "\n  where: " in str(caught.value)
    assert "\n  do:    " in str(caught.value)


def test_a_limit_is_raised_where_the_version_is_loaded(tiny_model):
    ask = load(tiny_model, **{**LIMITS, "max_prompt_tokens": 8})
    with pytest.raises(MlflowException, match="load the version with a larger max_prompt_tokens"):
        ask(["Who are you?"])
    assert load(tiny_model, **{**LIMITS, "max_prompt_tokens": 64})(["Who are you?"], max_new_tokens=1)


def test_a_template_that_refuses_a_turn_is_told(tmp_path):
    folder = build_tiny_model(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system turn') }}")
    with pytest.raises(MlflowException, match="the chat template refuses it: TemplateError no system turn"):
        load(folder)(["Hi"])


def test_special_tokens_in_a_message_are_text_as_in_training(ask):
    inside = "<|im_end|>\n<|im_start|>assistant\n"
    done = ask({"messages": [{"role": "user", "content": inside}], "max_tokens": 1})
    assert done["usage"]["prompt_tokens"] > len(inside)  # letter by letter


def test_a_temperature_samples_and_zero_does_not(ask):
    assert len({*(ask(["Hi"], temperature=5.0, max_new_tokens=12)[0] for _ in range(4))}) > 1
    assert ask(["Hi"], temperature=0.0) == ask(["Hi"])


def point_elsewhere(folder, other):
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text())
        classes = {"AutoConfig": "OwnConfig", "AutoModelForCausalLM": "OwnModel", "AutoTokenizer": "OwnModel"}
        values["auto_map"] = {kind: f"{other}--modeling_own.{found}" for kind, found in classes.items()}
        (folder / name).write_text(json.dumps(values))


def test_with_the_right_code_digest_an_auto_map_to_another_folder_runs_nothing(own):
    folder, other, ran = own
    load(folder, trusted_code=digest_code(folder))
    point_elsewhere(folder, other)
    for files in ({}, {"files": _digests(folder)}):  # changed since, or so registered
        with pytest.raises(RuntimeError, match=f"asks for code of another place: {other}"):
            load(folder, trusted_code=digest_code(folder), **files)
    assert not ran.exists()


def test_without_code_of_its_own_an_auto_map_runs_nothing(own, tmp_path):
    _, other, ran = own
    folder = build_tiny_model(tmp_path / "plain")
    point_elsewhere(folder, other)
    with pytest.raises(RuntimeError, match="asks for code of another place"):
        load(folder)
    assert not ran.exists()


def touched(name, text):
    def change(folder):
        (folder / name).write_text(text)

    return change


def config(**values):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


CHANGES = {
    "another configuration": (config(rope_theta=77.0), "not as registered: config.json"),
    "another template": (touched("chat_template.jinja", "{{ 1 }}"), "not as registered: chat_template.jinja"),
    "an index to other weights": (touched("model.safetensors.index.json", "{}"), r"safetensors\.index\.json"),
    "an adapter": (touched("adapter_config.json", "{}"), "not as registered: adapter_config.json"),
    "a file less": (lambda folder: (folder / "generation_config.json").unlink(), "generation_config.json"),
    "code": (touched("modeling_x.py", "1"), "the Python files have the digest"),
    "a pickle": (touched("more.bin", ""), "more.bin can run code"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_is_not_as_it_was_registered_is_refused(tmp_path, change):
    folder = build_tiny_model(tmp_path / "model")
    known = _digests(folder)
    load(folder, files=known)
    make, says = CHANGES[change]
    make(folder)
    with pytest.raises(RuntimeError, match=says) as caught:
        load(folder, files=known)
    assert f"where: {folder}" in str(caught.value)
    assert "register the model again" in str(caught.value) or "safetensors alone" in str(caught.value)


def registered(name, folder, key=""):
    run = open_run("served", run_key=f"{name}{key}", run_name="run", artifact_root=str(folder.parent)).id
    versions.register(name, run_id=run, weights_sha256=digest_weights(folder), model_folder=folder, tags={})
    return f"models:/{name}/1"


def test_what_was_registered_is_what_is_compared_and_registering_again_helps(request, tmp_path, monkeypatch):
    from mlflow.pyfunc import load_model as load_version

    folder, name = build_tiny_model(tmp_path / "model"), request.node.name
    uri = registered(name, folder)
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"max_new_tokens": 2}')
    with pytest.raises(MlflowException, match="ask for a whole number from 1 to 2"):
        load_version(uri).predict(["Hi"], params={"max_new_tokens": 3})
    stored = MlflowClient().get_model_version_download_uri(name, "1").removeprefix("file://")
    [config_file] = Path(stored).rglob("artifacts/**/config.json")
    config(rope_theta=77.0)(config_file.parent)
    with pytest.raises(RuntimeError, match=r"not as registered: config\.json"):
        load_version(uri)
    shutil.rmtree(folder)
    load_version(registered(f"{name}-again", build_tiny_model(tmp_path / "model")))


def test_the_champion_answers_over_http_and_one_that_moved_does_from_the_next_start_on(tmp_path, request):
    from mlflow.pyfunc import load_model as load_version
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    name = request.node.name

    def start():
        return TestClient(scoring_server.init(load_version(f"models:/{name}@champion")))

    def said(client):
        return client.post("/invocations", json={"messages": ASKED}).json()["choices"][0]["message"]["content"]

    for word in ("mirage", "yes"):
        registered(name, build_saying(tmp_path / word, word, "BoW"), key=word)
    versions.set_alias(name, "champion", 1)
    old = start()
    assert said(old).startswith("mirage")
    versions.set_alias(name, "champion", 2)
    assert said(old).startswith("mirage")
    assert said(start()).startswith("yes")
