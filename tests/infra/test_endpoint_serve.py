"""A server that others wrote: `transformers serve` with a small model, on loopback."""

import json
import os
import shutil

import pytest

from infra.endpoint.chat import ChatRequest
from infra.endpoint.client import Endpoint, EndpointCounts
from infra.endpoint.spending import Budget, BudgetSpent
from infra.errors import Unavailable
from infra.store.folder import FolderStore
from tests.faults.servers import Server, free_port

QUESTIONS = ["What is your name?", "What is the sea?", "Who is it?"]


@pytest.fixture(scope="module")
def sampling_model(tiny_model, tmp_path_factory):
    """`transformers serve` samples only if the model's own generation config says so."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("served") / "model")
    config = folder / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"do_sample": True}))
    return folder


@pytest.fixture(scope="module")
def server(sampling_model, forkserver, tmp_path_factory):
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command = [str(forkserver.python), "-m", "transformers.cli.transformers", "serve", str(sampling_model), *options]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    health = f"http://127.0.0.1:{port}/health"
    server = Server(command, os.environ | {"CUDA_VISIBLE_DEVICES": ""}, health, log, set())
    server.start()
    yield server
    server.stop()


def endpoint_of(server, model, store, calls=100):
    url = server.health.replace("/health", "/v1")
    return Endpoint(
        url, str(model), store, budget=Budget(calls, 10**6), scope="test", timeout_s=60.0, retries=1, at_once=1
    )


def asked(question, **options):
    return ChatRequest([{"role": "user", "content": question}], max_tokens=8, **options)


def greedy(model, question):
    """By transformers, without a server."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    messages = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = network.generate(**inputs, max_new_tokens=8, do_sample=False)
    return tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_transformers_serve_gives_what_the_model_gives_and_is_asked_once(server, sampling_model, tmp_path):
    endpoint = endpoint_of(server, sampling_model, FolderStore(tmp_path))
    endpoint.require_there()
    requests = [asked(question) for question in QUESTIONS]
    first = dict(endpoint.replies(requests))
    assert [first[n].texts for n in range(3)] == [[greedy(sampling_model, question)] for question in QUESTIONS]
    assert all(reply.prompt_tokens > 8 and reply.completion_tokens <= 8 for reply in first.values())
    endpoint = endpoint_of(server, sampling_model, FolderStore(tmp_path))
    assert dict(endpoint.replies(requests)) == first
    assert endpoint.counts() == EndpointCounts(paid=0, from_record=3, asked_again=0)


def test_transformers_serve_that_gives_one_answer_at_a_time_is_asked_as_often(server, sampling_model, tmp_path):
    samples = [asked(question, samples=4, temperature=1.0) for question in QUESTIONS]
    endpoint = endpoint_of(server, sampling_model, FolderStore(tmp_path / "first"))
    first = dict(endpoint.replies(samples))
    assert endpoint.spent().calls == 12
    assert all(len(set(reply.texts)) == 4 for reply in first.values())  # a seed of its own for each
    again = endpoint_of(server, sampling_model, FolderStore(tmp_path / "second"))
    assert dict(again.replies(samples)) == first  # and the same one, elsewhere


def test_transformers_serve_that_is_killed_and_comes_back_is_asked_for_the_rest(server, sampling_model, tmp_path):
    store, requests = FolderStore(tmp_path), [asked(question) for question in QUESTIONS]
    with pytest.raises(BudgetSpent):
        list(endpoint_of(server, sampling_model, store, calls=2).replies(requests))
    server.stop()
    with pytest.raises(Unavailable, match="the endpoint is away"):
        list(endpoint_of(server, sampling_model, store).replies(requests))
    server.start()
    endpoint = endpoint_of(server, sampling_model, store)
    assert len(list(endpoint.replies(requests))) == 3
    assert endpoint.counts() == EndpointCounts(paid=1, from_record=2, asked_again=0)
