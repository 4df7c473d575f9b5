"""The store on S3, through boto3. Endpoint, region, profile and keys come from AWS's own variables.

Checksums go over the wire with every write; the SHA-256 is kept beside the object and compared after every read,
because not every server that speaks S3 verifies what it is sent. A failed upload takes its parts away; those of a
killed process stay until the bucket's lifecycle rule (AbortIncompleteMultipartUpload) removes them.
"""

import hashlib
import os
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from infra.errors import BadSetting, InfraError
from infra.settings import without_secrets
from infra.store import Store, check_key, digest, missing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 16 << 20  # bytes of one part of a multipart upload
READS = 3  # tries of one read whose body arrives cut or wrong: the SDK retries requests, not bodies
Read = TypeVar("Read")


class S3Store(Store):
    """Keys are objects below `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not self.bucket:
            raise BadSetting("the store names no bucket", where=url, do="set DPO_STORE_URL=s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _connect(self.url)

    def exists(self, key: str) -> bool:
        """See Store."""
        with self._guard(key):
            return self._head(key) is not None

    def etag(self, key: str) -> str:
        """The server's name for this version of the object. Raises ObjectMissing."""
        with self._guard(key):
            there = self._head(key)
        if there is None:
            raise missing(self.url, key)
        return str(there["ETag"])

    def put_bytes(self, key: str, data: bytes, *, create_only: bool = False) -> bool:
        """See Store. A lost answer is no lost race: the writer's name beside the object tells whose it is."""
        sha256, writer = hashlib.sha256(data), uuid.uuid4().hex
        options: dict[str, Any] = {"IfNoneMatch": "*"} if create_only else {}
        with self._guard(key):
            try:
                self._client.put_object(
                    **self._at(key),
                    Body=data,
                    ChecksumSHA256=b64encode(sha256.digest()).decode(),
                    Metadata={"sha256": sha256.hexdigest(), "writer": writer},
                    **options,
                )
            except _errors():
                there = self._head(key) if create_only else None
                if there is None:  # nobody's: the write failed, it did not lose
                    raise
                return bool(there["Metadata"].get("writer") == writer)
        return True

    def get_bytes(self, key: str) -> bytes:
        """See Store."""

        def read() -> bytes:
            answer = self._client.get_object(**self._at(key))
            data = answer["Body"].read()
            self._verify(key, hashlib.sha256(data).hexdigest(), answer["Metadata"])
            return data

        with self._guard(key):
            return _again(read)

    def put_file(self, key: str, path: Path) -> str:
        """See Store. Large files go in parts; a failed upload leaves none behind."""
        if not path.is_file():
            raise InfraError("there is no such file to store", where=str(path), do="check the path")
        sha256 = digest(path)
        extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": sha256}}
        with self._guard(key):
            at = self._at(key)
            self._client.upload_file(str(path), at["Bucket"], at["Key"], ExtraArgs=extra, Config=_transfer())
            there = self._head(key)
        if there is None or there["ContentLength"] != path.stat().st_size or there["Metadata"].get("sha256") != sha256:
            raise InfraError("the upload does not read back as sent", where=f"{self.url}/{key}", do="run it again")
        return sha256

    def get_file(self, key: str, path: Path) -> None:
        """See Store."""
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")

        def read() -> None:
            at = self._at(key)
            there = self._client.head_object(**at)
            self._client.download_file(at["Bucket"], at["Key"], str(scratch), Config=_transfer())
            self._verify(key, digest(scratch), there["Metadata"])

        path.parent.mkdir(parents=True, exist_ok=True)
        with self._guard(key):
            try:
                _again(read)
                scratch.replace(path)
            finally:
                scratch.unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        """See Store."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._guard(prefix):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """See Store."""
        with self._guard(key):
            self._client.delete_object(**self._at(key))

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self._prefix + check_key(key)}

    def _head(self, key: str) -> Any | None:
        try:
            return self._client.head_object(**self._at(key))
        except _errors() as error:
            if _code(error) in ("404", "NoSuchKey", "NotFound"):
                self._client.head_bucket(Bucket=self.bucket)  # a missing bucket answers 404 as well
                return None
            raise

    def _verify(self, key: str, sha256: str, metadata: dict[str, str]) -> None:
        if metadata.get("sha256", sha256) != sha256:  # objects that others wrote carry none
            raise InfraError("the object's bytes are damaged", where=f"{self.url}/{key}", do="store it again")

    @contextmanager
    def _guard(self, key: str) -> Iterator[None]:
        try:
            yield
        except _errors() as error:
            raise _explain(error, self, key) from error
        except OSError as error:
            says = f"this machine's disk refused: {error.strerror or error}"
            raise InfraError(
                says, where=f"{self.url}/{key}", do="make room or mend permissions, then run it again"
            ) from error


def _connect(url: str) -> "S3Client":
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5})
    wrong: tuple[type[Exception], ...] = (*_errors(), ValueError)  # an unknown profile, an endpoint that is no URL
    try:
        return boto3.session.Session().client("s3", config=config)
    except wrong as error:
        says = f"S3 is not set up: {without_secrets(str(error))}"
        raise InfraError(says, where=url, do="check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from None


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)


def _errors() -> tuple[type[Exception], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (ClientError, BotoCoreError, Boto3Error)


def _again(read: Callable[[], Read]) -> Read:
    """Read once more if the body came cut or wrong; an answer that says no is final."""
    for _ in range(READS - 1):
        try:
            return read()
        except InfraError:
            continue
        except _errors() as error:
            if _code(error):
                raise
    return read()


def _code(error: BaseException | None) -> str:
    """S3's error code, also where boto3 wrapped the answer; empty if there was none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code", ""))
        error = error.__cause__ or error.__context__
    return ""


def _explain(error: Exception, store: S3Store, key: str) -> InfraError:
    """One line for a person; nothing of it comes from a header, which may carry keys or tokens."""
    code, kind = _code(error), type(error).__name__
    at = without_secrets(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS")
    if code == "NoSuchKey":
        return missing(store.url, key)
    if code in ("NoSuchBucket", "404", "NotFound"):
        says, do = f"there is no bucket {store.bucket!r} at {at}", "create it, or correct DPO_STORE_URL"
    elif code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        says, do = f"{at} refuses the credentials ({code})", "check AWS_ACCESS_KEY_ID, its secret, token and region"
    elif code in ("AccessDenied", "403", "Forbidden"):
        says = f"{at} denies access ({code})"
        do = "check the AWS credentials; they need get, put, list and delete in the bucket"
    elif code:
        says, do = f"{at} answers {code}", "run the same command again; if it persists, ask who runs the store"
    elif "Credentials" in kind:
        says, do = "there are no AWS credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    else:
        says, do = f"{at} cannot be reached ({kind})", "check AWS_ENDPOINT_URL and the network, then run it again"
    return InfraError(says, where=f"{store.url}/{key}", do=do)
