"""The S3 client by AWS's own settings, and what its errors mean in words.

Region, endpoint, keys, profile, role, addressing style and CA bundle are boto3's to find: environment, profile,
instance. Encryption on the server is the bucket's default, or what MLFLOW_S3_UPLOAD_EXTRA_ARGS asks for.
"""

import json
import os
import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from infra.errors import BadSetting, InfraError, Unavailable
from infra.secrets import without_secrets
from infra.store.base import missing

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

EXTRA = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"  # MLflow's own: its artifacts and our objects are then encrypted alike
ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled")
MISSING = ("404", "NoSuchKey", "NotFound")
WRONG_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
)
DENIED = ("AccessDenied", "403", "Forbidden")
RIGHTS = (
    "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts on the "
    "objects, s3:ListBucket and s3:ListBucketMultipartUploads on the bucket"
)
SKEWED = ("RequestTimeTooSkewed", "RequestExpired")
FULL = ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507")
DAMAGED_ON_ITS_WAY = ("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch")
DAMAGED = ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "InvalidRequest")  # InvalidRequest: AWS's own
CONFLICT = 409  # ConditionalRequestConflict, OperationAborted: neither written nor lost
READS = 3  # tries of one read whose body arrives cut or wrong: the SDK retries requests, not bodies
Read = TypeVar("Read")


def connect(url: str) -> "S3Client":
    """A client with timeouts and retries: five tries with jitter where the server throttles, fails or is silent."""
    import boto3
    from botocore.config import Config
    from botocore.session import Session

    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=20,
    )
    wrong: tuple[type[Exception], ...] = (*s3_errors(), ValueError)  # an unknown profile, an endpoint that is no URL
    try:
        session = Session()
        session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
        return boto3.session.Session(botocore_session=session).client("s3", config=config)
    except wrong as error:
        says = f"S3 is not set up: {without_secrets(str(error))}"
        raise InfraError(says, where=url, do="check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from None


@lru_cache
def _descriptions(data_path: str | None) -> "Loader":
    """What S3's interface and endpoints are, read from botocore's files once in a process: 0.2 s of each client."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def encryption() -> dict[str, Any]:
    """What every write has to say about encryption on the server. Raises BadSetting."""
    text = os.environ.get(EXTRA, "{}")
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError):
        do = 'write JSON, like {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "..."}'
        raise BadSetting(f"{EXTRA} is no JSON object", where="environment", do=do) from None
    return {name: value for name, value in values.items() if name in ENCRYPTION}


def s3_errors() -> tuple[type[Exception], ...]:
    """Everything that boto3 throws."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (ClientError, BotoCoreError, Boto3Error)


def code_of(error: BaseException | None) -> str:
    """S3's error code, also where boto3 wrapped the answer; empty if there was none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code", ""))
        error = error.__cause__ or error.__context__
    return ""


def is_final(error: BaseException) -> bool:
    """Whether the server said no, rather than nothing, or to come again."""
    code, status = code_of(error), _status_of(error)
    come_again = status in (408, CONFLICT, 429) or "Slow" in code or code in DAMAGED_ON_ITS_WAY
    return bool(code) and 400 <= status < 500 and not come_again


def is_conflict(error: BaseException) -> bool:
    """Whether another write of the key was under way: the server asks for the same once more."""
    return _status_of(error) == CONFLICT


def _status_of(error: BaseException) -> int:
    response = getattr(error, "response", None) or {}  # botocore's connection errors carry None
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def retry_read(read: Callable[[], Read]) -> Read:
    """Read once more if the body came cut or wrong; an answer that says no is final."""
    for tries in range(READS - 1):
        try:
            return read()
        except InfraError:
            pass
        except s3_errors() as error:
            if code_of(error):
                raise
        time.sleep(random.uniform(0, 0.1 * 2**tries))
    return read()


def explain(error: Exception, *, url: str, bucket: str, key: str) -> InfraError:
    """One line for a person; nothing of it comes from a header, which may carry keys or tokens."""
    code, kind = code_of(error), type(error).__name__
    at = without_secrets(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS")
    if code == "NoSuchKey":
        return missing(url, key)
    if getattr(error, "operation_name", "").startswith("AssumeRole"):
        says, do = f"the role of this profile cannot be taken on ({code})", "check role_arn and source_profile"
    elif code in ("NoSuchBucket", "404", "NotFound"):
        says, do = f"there is no bucket {bucket!r} at {at}", "create it, or correct DPO_STORE_URL"
    elif code in WRONG_KEYS:
        says, do = f"{at} refuses the credentials ({code})", "check AWS_ACCESS_KEY_ID, its secret, token and region"
    elif code in SKEWED:
        says, do = f"this machine's clock and that of {at} differ too much ({code})", "set the clock (timedatectl, NTP)"
    elif code in FULL:
        says, do = (
            f"{at} has no room left ({code})",
            "make room there (`dpo store gc --delete`), then run the same command again",
        )
    elif code in DENIED:
        says, do = f"{at} denies access ({code})", f"check the AWS credentials; they need {RIGHTS}"
    elif code:
        says, do = f"{at} answers {code}", "run the same command again; if it persists, ask who runs the store"
        return (InfraError if is_final(error) else Unavailable)(says, where=f"{url}/{key}", do=do)
    elif "Credentials" in kind:
        says, do = "there are no AWS credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    else:
        says, do = f"{at} cannot be reached ({kind})", "check AWS_ENDPOINT_URL and the network, then run it again"
        return Unavailable(says, where=f"{url}/{key}", do=do)
    return InfraError(says, where=f"{url}/{key}", do=do)
