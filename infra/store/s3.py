"""The store on S3, through boto3.

Checksums go over the wire with every write, and the SHA-256 is kept beside the object and compared after every read.
Not every server that speaks S3 checks what it is sent: this is asked once, and where it does not, every write is read
back.
"""

import hashlib
import random
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Never

from infra.errors import BadSetting, Damaged, InfraError
from infra.store.base import LARGE, Digests, Store, StoredObject, check_key, digest, missing
from infra.store.s3_client import (
    DAMAGED,
    MISSING,
    code_of,
    connect,
    encryption,
    explain,
    is_conflict,
    retry_read,
    s3_errors,
)
from infra.store.s3_upload import begun_uploads, upload

CHUNK = 1 << 20  # bytes
PAUSES_S = (0.2, 0.5, 1.0)  # at most, before a create-only write that met another one under way is sent once more


class S3Store(Store):
    """Keys are objects below `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not self.bucket:
            raise BadSetting("the store names no bucket", where=url, do="set DPO_STORE_URL=s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = connect(self.url)
        self._encryption = encryption()

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
        """See Store."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._guard(key):
            if not create_only:
                self._put(key, data, sha256)
            elif not self._create(key, data, sha256):
                return False
            self._read_back(key)
        return True

    def get_bytes(self, key: str) -> bytes:
        """See Store."""

        def read() -> bytes:
            answer = self._client.get_object(**self._at(key))
            data = answer["Body"].read()
            self._compare(key, hashlib.sha256(data).hexdigest(), answer["Metadata"].get("sha256"))
            return data

        with self._guard(key):
            return retry_read(read)

    def put_file(self, key: str, path: Path) -> str:
        """See Store. A large file goes in parts, and goes on where an earlier try broke off."""
        if not path.is_file():
            raise InfraError("there is no such file to store", where=str(path), do="check the path")
        before = path.stat()
        with self._guard(key):
            if before.st_size <= LARGE:
                data = path.read_bytes()
                sha256 = hashlib.sha256(data).hexdigest()
                self._put(key, data, sha256)
            else:
                sha256 = digest(path)
                self._upload(key, path, sha256)
            after = path.stat()
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                self._client.delete_object(**self._at(key))
                raise InfraError("the file changed while it was stored", where=str(path), do="start again")
            self._read_back(key)
        return sha256

    def get_file(self, key: str, path: Path) -> None:
        """See Store."""
        from boto3.s3.transfer import TransferConfig

        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        config = TransferConfig(multipart_threshold=LARGE, multipart_chunksize=LARGE, max_concurrency=4)

        def read() -> None:
            at = self._at(key)
            there = self._client.head_object(**at)
            self._client.download_file(at["Bucket"], at["Key"], str(scratch), Config=config)
            self._compare(key, digest(scratch), there["Metadata"].get("sha256"))

        path.parent.mkdir(parents=True, exist_ok=True)
        with self._guard(key):
            try:
                retry_read(read)
                scratch.replace(path)
            finally:
                scratch.unlink(missing_ok=True)

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """See Store."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._guard(prefix):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    yield StoredObject(key, item["Size"], item["LastModified"].timestamp())

    def digests(self, key: str) -> Digests:
        """See Store."""

        def read() -> Digests:
            answer, sha256 = self._client.get_object(**self._at(key)), hashlib.sha256()
            for chunk in answer["Body"].iter_chunks(CHUNK):
                sha256.update(chunk)
            return Digests(sha256.hexdigest(), answer["Metadata"].get("sha256"))

        with self._guard(key):
            return retry_read(read)

    def delete(self, key: str) -> None:
        """See Store."""
        with self._guard(key):
            self._client.delete_object(**self._at(key))

    def unfinished(self) -> Iterator[StoredObject]:
        """See Store. The key of such an entry ends in the upload's id."""
        with self._guard(""):
            for item in begun_uploads(self._client, self.bucket, self._prefix):
                name = f"{item['Key'].removeprefix(self._prefix)}?uploadId={item['UploadId']}"
                yield StoredObject(name, 0, item["Initiated"].timestamp())

    def drop_unfinished(self, entry: StoredObject) -> None:
        """See Store."""
        key, _, upload_id = entry.key.partition("?uploadId=")
        with self._guard(key):
            self._client.abort_multipart_upload(**self._at(key), UploadId=upload_id)

    def keeps_deleted(self) -> bool:
        """See Store: a bucket with versions, of which none ever expires. False where one may not ask."""
        try:
            if self._client.get_bucket_versioning(Bucket=self.bucket).get("Status") != "Enabled":
                return False
            rules = self._client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
        except s3_errors() as error:
            return code_of(error) == "NoSuchLifecycleConfiguration"
        return not any(rule["Status"] == "Enabled" and "NoncurrentVersionExpiration" in rule for rule in rules)

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self._prefix + check_key(key)}

    def _put(self, key: str, data: bytes, sha256: str, *, writer: str = "", **options: Any) -> None:
        metadata = {"sha256": sha256, "writer": writer} if writer else {"sha256": sha256}
        checksum = b64encode(bytes.fromhex(sha256)).decode()
        options = {**options, **self._encryption}
        self._client.put_object(**self._at(key), Body=data, ChecksumSHA256=checksum, Metadata=metadata, **options)

    def _create(self, key: str, data: bytes, sha256: str) -> bool:
        """Whether ours is there. A lost answer is no lost race: the writer's name beside it tells whose it is."""
        writer = uuid.uuid4().hex
        for pause in (*PAUSES_S, None):
            try:
                self._put(key, data, sha256, writer=writer, IfNoneMatch="*")
                return True
            except s3_errors() as error:
                there = self._head(key)
                if there is not None:
                    return bool(there["Metadata"].get("writer") == writer)
                if pause is None or not is_conflict(error):  # nobody's: the write failed, it did not lose
                    raise
            time.sleep(random.uniform(pause / 2, pause))
        raise AssertionError

    def _upload(self, key: str, path: Path, sha256: str) -> None:
        """In parts; whoever completes the upload, what counts is that the object is there with this digest."""
        options = {"Metadata": {"sha256": sha256}, **self._encryption}
        for anew in (False, True):
            try:
                upload(self._client, self._at(key), path, options, anew=anew)
            except s3_errors() as error:
                if not self._holds(key, sha256) and (anew or code_of(error) != "NoSuchUpload"):
                    raise
            if self._holds(key, sha256):
                return
        self._refuse(key)

    def _holds(self, key: str, sha256: str) -> bool:
        there = self._head(key)
        return there is not None and there["Metadata"].get("sha256") == sha256

    def _read_back(self, key: str) -> None:
        """Where the server does not check: read the object; of two writers the later one's digest counts."""
        if not self._server_checks:
            digests = self.digests(key)
            if digests.found != digests.recorded:
                self._client.delete_object(**self._at(key))
                self._refuse(key)

    def _refuse(self, key: str) -> Never:
        raise InfraError("the upload does not read back as sent", where=f"{self.url}/{key}", do="run it again")

    @cached_property
    def _server_checks(self) -> bool:
        """Whether the server compares what arrives with the SHA-256 that comes with it."""
        key = f"probe/{uuid.uuid4().hex}"
        try:
            self._put(key, b"probe", hashlib.sha256(b"something else").hexdigest())
        except s3_errors() as error:
            if code_of(error) in DAMAGED:
                return True
            raise
        self._client.delete_object(**self._at(key))
        return False

    def _head(self, key: str) -> Any | None:
        try:
            return self._client.head_object(**self._at(key))
        except s3_errors() as error:
            if code_of(error) in MISSING:
                self._client.head_bucket(Bucket=self.bucket)  # a missing bucket answers 404 as well
                return None
            if code_of(error) == "403":  # an answer to HEAD has no body to say why
                self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._at(key)["Key"], MaxKeys=1)
            raise

    def _compare(self, key: str, found: str, recorded: str | None) -> None:
        if recorded not in (None, found):  # objects that others wrote carry none
            raise Damaged("the object's bytes are damaged", where=f"{self.url}/{key}", do="store it again")

    @contextmanager
    def _guard(self, key: str) -> Iterator[None]:
        try:
            yield
        except s3_errors() as error:
            raise explain(error, url=self.url, bucket=self.bucket, key=key) from error
        except OSError as error:
            says = f"this machine's disk refused: {error.strerror or error}"
            raise InfraError(
                says, where=f"{self.url}/{key}", do="make room or mend permissions, then run it again"
            ) from error
