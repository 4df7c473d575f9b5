"""How long MLflow's client waits for an answer while a file is on its way.

A server that hands artifacts on (`--artifacts-destination s3://...`) answers an upload when the whole file is there,
and begins to answer a download when it has fetched the whole file.
"""

import functools
import os
from typing import Any

LONGEST_S = 3600  # of a download, and of putting the parts of an upload together: how large it is is not known here
SLOWEST = 1 << 20  # bytes a second that a server hands on at least


@functools.cache
def wait_for_files() -> None:
    """From now on files have the time that they need, in every thread; all other requests have theirs."""
    from mlflow.store.artifact import http_artifact_repo

    names = vars(http_artifact_repo)
    request = names["http_request"]  # it takes a timeout; those who call it there give none
    if request.__module__ == __name__:  # another thread came first
        return

    def patient(host_creds: Any, endpoint: str, method: str, **options: Any) -> Any:
        usual = _variable("MLFLOW_HTTP_REQUEST_TIMEOUT")
        longest = max(usual, _seconds(usual, endpoint, method, options))
        return request(host_creds, endpoint, method, timeout=(usual, longest), **options)

    names["http_request"] = patient


def _seconds(usual: float, endpoint: str, method: str, options: dict[str, Any]) -> float:
    asked = _variable("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT")
    if method == "PUT":  # by its size: a small file tells soon that a server hangs
        return asked or usual + os.fstat(options["data"].fileno()).st_size / SLOWEST
    if options.get("stream") or endpoint.startswith("/mlflow-artifacts/mpu/complete"):
        return asked or LONGEST_S
    return usual


def _variable(name: str) -> Any:
    """What MLflow reads: the environment's value, or its default."""
    from mlflow import environment_variables

    return vars(environment_variables)[name].get()
