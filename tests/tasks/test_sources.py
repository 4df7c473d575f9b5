"""Pairs in S3, against a real server."""

import json

import pytest

from dpo_core.data.readers import read_pairs
from infra.errors import InfraError
from tasks.runtime.sources import local_source, version_of_source


@pytest.fixture
def put(s3_server, s3_url):
    """Write rows to an object below a prefix of its own; its address."""
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")

    def write(name, *prompts):
        rows = [{"prompt": prompt, "chosen": "yes it is", "rejected": "no it is not"} for prompt in prompts]
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        s3_server.client().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=body)
        return f"{s3_url}/{name}"

    return write


def prompts(source, home):
    return [pair.prompt[0]["content"] for pair in read_pairs(local_source(source, home)).pairs]


def test_an_object_a_prefix_and_a_pattern_are_read(put, s3_url, tmp_path):
    one = put("in/a.jsonl", "a")
    put("in/deep/b.jsonl", "b", "c")
    put("in/notes.txt", "x")
    assert prompts(one, tmp_path) == ["a"]
    assert prompts(f"{s3_url}/in/", tmp_path) == ["a", "b", "c"]
    assert prompts(f"{s3_url}/in/*b.jsonl", tmp_path) == ["b", "c"]


def test_an_object_is_fetched_once_and_again_when_it_changes(put, tmp_path):
    source = put("p.jsonl", "old")
    first = version_of_source(source)
    assert prompts(source, tmp_path) == ["old"]
    fetched = local_source(source, tmp_path)
    assert local_source(source, tmp_path) == fetched
    put("p.jsonl", "new one")
    assert version_of_source(source) != first
    assert prompts(source, tmp_path) == ["new one"]


def test_an_object_that_is_written_while_it_is_read_is_refused(put, tmp_path, monkeypatch):
    from infra.store.s3 import S3Store

    source = put("p.jsonl", "old")
    read = S3Store.get_file

    def slow(self, key, path):
        read(self, key, path)
        put("p.jsonl", "new one")

    monkeypatch.setattr(S3Store, "get_file", slow)
    with pytest.raises(InfraError, match="not what it was when the run began"):
        local_source(source, tmp_path)
    assert not list((tmp_path / "downloads").rglob("*.jsonl"))


@pytest.mark.parametrize("name", ["none.jsonl", "none/", "none*.jsonl"])
def test_what_is_not_there_is_named(put, s3_url, tmp_path, name):
    with pytest.raises(InfraError) as caught:
        local_source(f"{s3_url}/{name}", tmp_path)
    assert name.strip("/*") in caught.value.where


@pytest.mark.parametrize("key", ["../up.jsonl", "a//b.jsonl", "a/./b.jsonl", "a\0b.jsonl", "x" * 1200])
def test_a_key_that_leads_elsewhere_is_refused(s3_url, tmp_path, key):
    with pytest.raises(InfraError, match="no key of a store"):
        local_source(f"{s3_url}/{key}", tmp_path)
