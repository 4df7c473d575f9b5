"""What goes wrong with a disk or an S3 server, in words, and with nothing half done."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError
from botocore.response import StreamingBody

from infra.errors import BadSetting, InfraError, ObjectMissing, Unavailable
from infra.store import s3_upload
from infra.store.base import digest
from infra.store.folder import FolderStore
from infra.store.s3 import S3Store
from infra.store.s3_client import explain, is_final
from tests.s3_server import BUCKET, READER


def test_a_full_disk_is_named_and_the_old_bytes_stay(tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("a", b"old")

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("infra.store.folder.os.fsync", full)
    with pytest.raises(InfraError, match="No space left on device") as caught:
        store.put_bytes("a", b"new")
    assert caught.value.do == "make room on that disk, then run the same command again"
    assert store.get_bytes("a") == b"old"
    assert list(store.list("")) == ["a"]
    assert list((tmp_path / "store" / ".tmp").iterdir()) == []


ENDLESS_WRITER = """
import sys
from pathlib import Path
from infra.store.folder import FolderStore
store = FolderStore(Path(sys.argv[1]))
for number in range(10**9):
    store.put_bytes("a/key", bytes([number % 256]) * (1 << 20))
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_one_whole_value(tmp_path):
    for _ in range(3):
        command = [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)]
        writer = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
        with writer:
            acknowledged = [int(writer.stdout.readline()) for _ in range(5)][-1]
            writer.kill()
        data = FolderStore(tmp_path).get_bytes("a/key")
        assert len(data) == 1 << 20
        [value] = set(data)
        assert value >= acknowledged  # nothing acknowledged is lost
        assert list(FolderStore(tmp_path).list("")) == ["a/key"]


def test_what_a_killed_writer_left_is_forgotten_after_a_day(tmp_path):
    store = FolderStore(tmp_path)
    store.put_bytes("a", b"1")
    old, young = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    FolderStore(tmp_path)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_store_that_is_a_file_is_named(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(InfraError, match="the store's folder refused"):
        FolderStore(tmp_path / "store").put_bytes("a", b"")


def test_a_missing_bucket_is_not_taken_for_a_missing_key(s3_url):
    store = S3Store("s3://no-such-bucket/x")
    for use in (store.exists, store.get_bytes):
        with pytest.raises(InfraError, match="there is no bucket 'no-such-bucket'") as caught:
            use("a")
        assert not isinstance(caught.value, ObjectMissing)


def test_a_url_without_bucket_is_a_bad_setting():
    with pytest.raises(BadSetting, match="names no bucket"):
        S3Store("s3://")


def test_wrong_credentials_are_named_without_showing_them(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token")
    with pytest.raises(InfraError, match=r"refuses the credentials|denies access") as caught:
        S3Store(s3_url).put_bytes("a", b"")
    assert "canary" not in str(caught.value)


def test_no_credentials_are_named(s3_url, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(InfraError, match="there are no AWS credentials"):
        S3Store(s3_url).put_bytes("a", b"")


def test_a_reader_may_not_write_and_is_told_so(s3_url, monkeypatch):
    S3Store(s3_url).put_bytes("a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    store = S3Store(s3_url)
    assert store.get_bytes("a") == b"1"
    for create_only in (False, True):
        with pytest.raises(InfraError, match=r"denies access \(AccessDenied\)") as caught:
            store.put_bytes("b", b"2", create_only=create_only)
        assert "s3:PutObject" in caught.value.do


def test_an_unreachable_endpoint_is_named_without_its_password(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:canary@127.0.0.1:9")
    with pytest.raises(InfraError, match="cannot be reached") as caught:
        S3Store(s3_url).get_bytes("a")
    assert "canary" not in str(caught.value)


def test_our_own_write_whose_answer_was_lost_counts_as_ours(s3_url, monkeypatch):
    store, calls = S3Store(s3_url), []
    put = store._client.put_object

    def answers_at_the_second_try(**request):  # what the SDK's own retry does after a lost answer
        calls.append(put(**request))
        return put(**request)

    monkeypatch.setattr(store._client, "put_object", answers_at_the_second_try)
    assert store.put_bytes("ledger/1", b"mine", create_only=True) is True
    assert len(calls) == 1  # the fault fired
    monkeypatch.undo()
    assert store.put_bytes("ledger/1", b"other", create_only=True) is False


@pytest.fixture
def conflicts(s3_url, monkeypatch):
    """A store that answers so many writes with 409, as AWS does while another write of the key is under way."""
    monkeypatch.setattr("infra.store.s3.PAUSES_S", (0.01, 0.02))
    store = S3Store(s3_url)

    def of(count, meanwhile=lambda: None):
        left = iter(range(count))

        def conflict(**_):
            if next(left, None) is not None:
                meanwhile()
                answer = {"Error": {"Code": "ConditionalRequestConflict"}, "ResponseMetadata": {"HTTPStatusCode": 409}}
                raise ClientError(answer, "PutObject")

        store._client.meta.events.register("before-call.s3.PutObject", conflict)
        return store

    return of


def test_a_create_only_write_that_meets_another_under_way_is_sent_again(conflicts):
    store = conflicts(2)
    assert store.put_bytes("ledger/1", b"mine", create_only=True) is True
    assert store.get_bytes("ledger/1") == b"mine"


def test_a_create_only_write_that_met_the_winner_has_lost(conflicts, s3_url):
    store = conflicts(1, lambda: S3Store(s3_url).put_bytes("ledger/1", b"theirs", create_only=True))
    assert store.put_bytes("ledger/1", b"mine", create_only=True) is False
    assert store.get_bytes("ledger/1") == b"theirs"


def test_writes_that_meet_others_time_and_again_may_go_through_later(conflicts):
    store = conflicts(3 + 1)
    for create_only in (True, False):  # three tries and one
        with pytest.raises(Unavailable, match="answers ConditionalRequestConflict"):
            store.put_bytes("ledger/1", b"mine", create_only=create_only)
        assert not store.exists("ledger/1")
    assert store.put_bytes("ledger/1", b"mine", create_only=True) is True


def test_a_body_cut_on_the_way_is_read_again(s3_url, monkeypatch):
    store, tries = S3Store(s3_url), []
    store.put_bytes("a", b"whole")
    get = store._client.get_object

    class Cut(io.RawIOBase):
        def read(self, *_):
            raise ResponseStreamingError(error="connection reset")

    def first_answer_is_cut(**request):
        answer = get(**request)
        tries.append(answer)
        return answer if len(tries) > 1 else {**answer, "Body": StreamingBody(Cut(), 5)}

    monkeypatch.setattr(store._client, "get_object", first_answer_is_cut)
    assert store.get_bytes("a") == b"whole"
    assert len(tries) == 2


def test_bytes_unlike_their_digest_are_refused(s3_url, s3_server, tmp_path):
    key = f"{s3_url.removeprefix(f's3://{BUCKET}/')}/a"
    s3_server.client().put_object(Bucket=BUCKET, Key=key, Body=b"flipped", Metadata={"sha256": "0" * 64})
    with pytest.raises(InfraError, match="bytes are damaged"):
        S3Store(s3_url).get_bytes("a")
    with pytest.raises(InfraError, match="bytes are damaged"):
        S3Store(s3_url).get_file("a", tmp_path / "a")
    assert list(tmp_path.glob("*a*")) == []


class Killed(BaseException):
    """Stands for a kill: no handler of ours runs."""


def test_an_upload_that_broke_off_goes_on_with_the_parts_that_are_there(s3_url, tmp_path, monkeypatch):
    (tmp_path / "big").write_bytes(os.urandom(33 << 20))  # three parts
    store, sent = S3Store(s3_url), []
    monkeypatch.setattr(s3_upload, "AT_ONCE", 1)
    whole = store._client.upload_part

    def dies_at_the_third(**request):
        if request["PartNumber"] == 3:
            raise Killed
        return whole(**request)

    monkeypatch.setattr(store._client, "upload_part", dies_at_the_third)
    with pytest.raises(Killed):
        store.put_file("big", tmp_path / "big")
    assert not store.exists("big")
    assert len(list(store.unfinished())) == 1
    monkeypatch.setattr(store._client, "upload_part", lambda **r: (sent.append(r["PartNumber"]), whole(**r))[1])
    store.put_file("big", tmp_path / "big")
    assert sent == [3]
    assert store.digests("big").found == store.digests("big").recorded == digest(tmp_path / "big")
    assert list(store.unfinished()) == []


def test_who_may_not_look_for_earlier_uploads_stores_large_files_all_the_same(s3_url, tmp_path, caplog):
    (tmp_path / "big").write_bytes(bytes(17 << 20))
    store = S3Store(s3_url)

    def denied(**_):
        answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "ListMultipartUploads")

    store._client.meta.events.register("before-call.s3.ListMultipartUploads", denied)
    s3_upload._tell_denied.cache_clear()
    assert store.put_file("big", tmp_path / "big") == digest(tmp_path / "big") == store.digests("big").found
    assert list(store.unfinished()) == []  # `dpo store gc` goes on with the rest
    [warning] = [text for text in caplog.messages if "s3_uploads_not_listed" in text]
    assert "give s3:ListBucketMultipartUploads" in warning


def test_parts_of_another_file_are_not_taken_over(s3_url, tmp_path, monkeypatch):
    store = S3Store(s3_url)
    old = store._client.create_multipart_upload(Bucket=BUCKET, Key=store._at("big")["Key"])["UploadId"]
    at = {**store._at("big"), "UploadId": old}
    store._client.upload_part(**at, PartNumber=1, Body=bytes(16 << 20))
    (tmp_path / "big").write_bytes(b"\1" * (17 << 20))
    store.put_file("big", tmp_path / "big")
    assert store.digests("big").found == digest(tmp_path / "big")
    [left] = store.unfinished()
    store.drop_unfinished(left)
    assert list(store.unfinished()) == []


def test_an_upload_that_another_process_completed_counts(s3_url, tmp_path, monkeypatch):
    (tmp_path / "big").write_bytes(bytes(17 << 20))
    store = S3Store(s3_url)
    complete = store._client.complete_multipart_upload

    def answers_to_the_retry(**request):  # the first answer was lost; the server knows the upload no more
        complete(**request)
        raise ClientError({"Error": {"Code": "NoSuchUpload"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Complete")

    monkeypatch.setattr(store._client, "complete_multipart_upload", answers_to_the_retry)
    assert store.put_file("big", tmp_path / "big") == digest(tmp_path / "big")


def test_a_refused_upload_takes_its_parts_away(s3_url, tmp_path):
    store = S3Store(s3_url)
    (tmp_path / "big").write_bytes(bytes(17 << 20))

    def second_part_is_refused(params, **_):
        if params["query_string"].get("partNumber") == 2:
            answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, "UploadPart")

    store._client.meta.events.register("before-call.s3.UploadPart", second_part_is_refused)
    with pytest.raises(InfraError, match="denies access"):
        store.put_file("big", tmp_path / "big")
    assert list(S3Store(s3_url).unfinished()) == []


def test_a_file_that_changes_on_its_way_is_not_left_in_the_store(s3_url, tmp_path):
    store = S3Store(s3_url)
    (tmp_path / "big").write_bytes(bytes(17 << 20))

    def changed(**_):
        (tmp_path / "big").write_bytes(b"\1" * (17 << 20))

    store._client.meta.events.register("before-call.s3.CreateMultipartUpload", changed)
    with pytest.raises(InfraError, match="changed while it was stored"):
        store.put_file("big", tmp_path / "big")
    assert not store.exists("big")


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("RequestTimeTooSkewed", 403, "clock"),
        ("InsufficientStorage", 507, "has no room left"),
        ("ServiceUnavailable", 503, "answers ServiceUnavailable"),
    ],
)
def test_what_a_server_answers_is_put_in_words(s3_url, code, status, says):
    store = S3Store(s3_url)

    def answers(**_):
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")

    store._client.meta.events.register("before-call.s3.PutObject", answers)
    with pytest.raises(InfraError, match=says):
        store.put_bytes("a", b"")


def test_of_a_store_without_room_the_remedy_is_a_command_that_makes_some():
    full = ClientError({"Error": {"Code": "InsufficientStorage"}}, "PutObject")
    assert "`dpo store gc --delete`" in explain(full, url="s3://b", bucket="b", key="k").do


def test_flipped_bytes_of_a_folder_store_are_refused(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("a", b"right")
    if store.digests("a").recorded is None:
        pytest.skip("this file system has no extended attributes")
    with (tmp_path / "store" / "a").open("r+b") as file:
        file.write(b"w")
    for read in (lambda: store.get_bytes("a"), lambda: store.get_file("a", tmp_path / "copy")):
        with pytest.raises(InfraError, match="bytes are damaged"):
            read()
    assert not (tmp_path / "copy").exists()


def test_empty_folders_go_with_their_last_file(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("a/b/c", b"")
    store.delete("a/b/c")
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".tmp"]


@pytest.mark.parametrize(("code", "status", "final"), [("AccessDenied", 403, True), ("BadDigest", 400, False)])
def test_no_rights_is_a_final_no_and_bytes_that_arrive_wrong_may_be_sent_again(code, status, final):
    error = ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")
    assert is_final(error) == final


def test_a_connection_that_closed_without_an_answer_is_no_final_no():
    assert not is_final(ConnectionClosedError(endpoint_url="http://s3"))
