"""What only a pretended AWS can show: roles, encryption, and a server that does not check what it is sent."""

import json
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from infra.errors import BadSetting, InfraError
from infra.settings import load_settings
from infra.store.s3 import S3Store
from tasks.commands.doctor import _store

URL = "s3://pretended/prefix"


@pytest.fixture(scope="module")
def moto_endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def pretended(moto_endpoint, monkeypatch):
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": moto_endpoint,
        "AWS_ACCESS_KEY_ID": "of-moto",
        "AWS_SECRET_ACCESS_KEY": "of-moto",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3")  # the default session keeps its keys, and MLflow uses it later
    client.create_bucket(Bucket="pretended")
    return client


def test_a_server_that_does_not_check_has_every_write_read_back(pretended, tmp_path):
    store = S3Store(URL)
    store.put_bytes("a", b"right")
    assert store._server_checks is False
    assert list(store.list("")) == ["a"]  # the question left nothing behind

    def flips(request, **_):
        request.body = b"wrong"

    store._client.meta.events.register("before-send.s3.PutObject", flips)
    (tmp_path / "file").write_bytes(b"other")
    for put in (lambda: store.put_bytes("b", b"right"), lambda: store.put_file("b", tmp_path / "file")):
        with pytest.raises(InfraError, match="does not read back as sent"):
            put()
        assert not store.exists("b")


def test_encryption_is_asked_for_as_mlflow_asks_for_it(pretended, monkeypatch, tmp_path):
    wanted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "a-key", "ACL": "public-read"}
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", json.dumps(wanted))
    store = S3Store(URL)
    store.put_bytes("a", b"1")
    (tmp_path / "big").write_bytes(bytes(17 << 20))
    store.put_file("big", tmp_path / "big")
    for key in ("a", "big"):
        head = pretended.head_object(Bucket="pretended", Key=f"prefix/{key}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"].rpartition("/")[2]) == ("aws:kms", "a-key")


def test_what_is_no_json_is_a_bad_setting(pretended, monkeypatch):
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "aws:kms")
    with pytest.raises(BadSetting, match="is no JSON object"):
        S3Store(URL)


def test_profile_region_role_and_addressing_come_from_aws_own_files(pretended, monkeypatch, tmp_path):
    (tmp_path / "config").write_text(
        "[profile base]\nregion = eu-central-1\n"
        "[profile team]\nregion = eu-central-1\nrole_arn = arn:aws:iam::123456789012:role/dpo\n"
        "source_profile = base\ns3 =\n  addressing_style = path\n"
    )
    (tmp_path / "credentials").write_text("[base]\naws_access_key_id = base\naws_secret_access_key = base\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    store = S3Store(URL)
    store.put_bytes("a", b"1")
    meta = store._client.meta
    assert (meta.region_name, meta.config.s3["addressing_style"]) == ("eu-central-1", "path")
    assert store._client._request_signer._credentials.method == "assume-role"
    assert store.get_bytes("a") == b"1"


def test_a_bucket_with_versions_and_no_rule_that_expires_them_keeps_what_is_deleted(pretended, monkeypatch):
    store, expires = S3Store(URL), {"NoncurrentVersionExpiration": {"NoncurrentDays": 30}}
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "prefix/models/"}}
    other = {**rule, "ID": "other", "Expiration": {"Days": 9}}

    def versions(status):
        pretended.put_bucket_versioning(Bucket="pretended", VersioningConfiguration={"Status": status})

    def keeps_with(*rules):
        configuration = {"Rules": list(rules)}
        pretended.put_bucket_lifecycle_configuration(Bucket="pretended", LifecycleConfiguration=configuration)
        return store.keeps_deleted()

    assert not store.keeps_deleted()
    versions("Enabled")
    try:
        assert store.keeps_deleted()
        assert [f.status for f in _store(load_settings().model_copy(update={"store_url": URL}))] == ["warn"]
        assert keeps_with(other)
        assert not keeps_with(other, {**rule, **expires})
        pretended.delete_bucket_lifecycle(Bucket="pretended")
        denied = ClientError({"Error": {"Code": "AccessDenied"}}, "GetBucketLifecycleConfiguration")
        monkeypatch.setattr(store._client, "get_bucket_lifecycle_configuration", Mock(side_effect=denied))
        assert not store.keeps_deleted()
    finally:
        versions("Suspended")
