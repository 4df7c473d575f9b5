"""A large file on its way to S3, in parts that travel side by side.

A try that broke off leaves its parts in the bucket; the next one takes over those whose bytes are the file's, and sends
the rest. Where the server said no the parts are removed at once; what nobody came back for, `dpo store gc` removes.
"""

import hashlib
import logging
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.store.s3_client import DENIED, code_of, is_final, s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef

log = logging.getLogger("dpo.store")
PART = 16 << 20  # bytes
MOST_PARTS = 10_000  # S3's limit
AT_ONCE = 4  # parts on their way, each in memory


@dataclass(frozen=True)
class UploadedPart:
    """One uploaded part, as S3 wants it named when the upload is completed."""

    number: int
    etag: str
    sha256: str  # base64

    def to_request(self) -> dict[str, Any]:
        """The member of CompleteMultipartUpload's list."""
        return {"PartNumber": self.number, "ETag": self.etag, "ChecksumSHA256": self.sha256}


@dataclass(frozen=True)
class FileInParts:
    """A file cut into parts."""

    path: Path
    size: int
    part: int

    @classmethod
    def of(cls, path: Path) -> "FileInParts":
        """Parts of PART bytes, larger ones where there would be too many."""
        size = path.stat().st_size
        return cls(path, size, max(PART, -(-size // MOST_PARTS)))

    @property
    def numbers(self) -> range:
        """Part numbers, from 1."""
        return range(1, max(1, -(-self.size // self.part)) + 1)

    def read(self, number: int) -> bytes:
        """The bytes of a part."""
        with self.path.open("rb") as file:
            file.seek((number - 1) * self.part)
            return file.read(self.part)


def upload(client: "S3Client", at: Mapping[str, Any], path: Path, options: Mapping[str, Any], *, anew: bool) -> None:
    """Send the file; with `anew`, without looking for what an earlier try has left."""
    source = FileInParts.of(path)
    upload_id, there = (None, {}) if anew else _begun(client, at, source)
    if upload_id is None:
        upload_id = client.create_multipart_upload(**at, ChecksumAlgorithm="SHA256", **options)["UploadId"]
    try:
        parts = _send(client, {**at, "UploadId": upload_id}, source, there)
        whole: Any = {"Parts": [part.to_request() for part in parts]}
        client.complete_multipart_upload(**at, UploadId=upload_id, MultipartUpload=whole)
    except s3_errors() as error:
        if is_final(error):
            with suppress(*s3_errors()):
                client.abort_multipart_upload(**at, UploadId=upload_id)
        raise


def begun_uploads(client: "S3Client", bucket: str, prefix: str) -> "list[MultipartUploadTypeDef]":
    """Those below a prefix that did not end; who may not look for them is told, and goes on without."""
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    try:
        return [item for page in pages for item in page.get("Uploads", [])]
    except s3_errors() as error:
        if code_of(error) not in DENIED:
            raise
        _tell_denied(bucket)
        return []


@cache
def _tell_denied(bucket: str) -> None:
    says = "s3_uploads_not_listed bucket=%s action=%r"
    log.warning(
        says, bucket, "give s3:ListBucketMultipartUploads; without it what broke off is sent anew, and not found"
    )


def _begun(
    client: "S3Client", at: Mapping[str, Any], source: FileInParts
) -> tuple[str | None, dict[int, UploadedPart]]:
    """An upload of this key whose parts are all the file's: its id and parts."""
    for begun in begun_uploads(client, at["Bucket"], at["Key"]):
        if begun.get("Key") != at["Key"]:
            continue
        with suppress(*s3_errors()):  # completed or aborted since
            parts = client.get_paginator("list_parts").paginate(**at, UploadId=begun["UploadId"])
            found = {item["PartNumber"]: item for page in parts for item in page.get("Parts", [])}
            same = {number: _same(source, number, item) for number, item in found.items()}
            if all(same.values()):
                return begun["UploadId"], {number: part for number, part in same.items() if part}
    return None, {}


def _same(source: FileInParts, number: int, item: Mapping[str, Any]) -> UploadedPart | None:
    """The part, if its bytes are the file's: by SHA-256 if the server records it, else by the MD5 that is its ETag."""
    if number not in source.numbers:
        return None
    data = source.read(number)
    sha256 = b64encode(hashlib.sha256(data).digest()).decode()
    recorded = item.get("ChecksumSHA256")
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    right = recorded == sha256 if recorded else item["ETag"].strip('"') == md5
    return UploadedPart(number, item["ETag"], sha256) if right and item["Size"] == len(data) else None


def _send(
    client: "S3Client", at: Mapping[str, Any], source: FileInParts, there: Mapping[int, UploadedPart]
) -> list[UploadedPart]:
    def one(number: int) -> UploadedPart:
        if number in there:
            return there[number]
        data = source.read(number)
        sha256 = b64encode(hashlib.sha256(data).digest()).decode()
        sent = client.upload_part(**at, PartNumber=number, Body=data, ChecksumSHA256=sha256)
        return UploadedPart(number, sent["ETag"], sha256)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return list(pool.map(one, source.numbers))
    finally:
        pool.shutdown(cancel_futures=True)
