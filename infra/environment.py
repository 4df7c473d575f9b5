"""The environment that a run works in: what it takes from the shell, and what its training process gets.

Programs of this field are told by variables what to compute, with whom, and what to import: a launcher's, left in a
shell, make a training wait for ranks that never come; accelerate's change its weights. So the training process gets
what is listed here and nothing else, and a run forgets what would act in its own process. docs/settings.md has the
lists for people.
"""

import os
import site
from collections.abc import Iterable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("flows", "tasks", "infra", "dpo_core")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

# What `.env` of the working folder may set: it comes with the folder, so not what programs run or load.
NO_DOTENV = "PYTHON_DOTENV_DISABLED"  # python-dotenv's own name for: read none
DOTENV = ("DPO_", "MLFLOW_", "PREFECT_", "AWS_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_")

# What the training process gets. Prefixes end in `_`, all else are whole names.
SERVICES = (*DOTENV, "GOOGLE_", "AZURE_", "DATABRICKS_")  # where MLflow's server and its artifacts may be
SYSTEM = (
    *("HOME", "USER", "LOGNAME", "PATH", "SHELL", "TERM", "COLUMNS", "LINES", "NO_COLOR", "TZ", "LANG", "LANGUAGE"),
    *("LC_", "TMPDIR", "TMP", "TEMP", "XDG_", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONUTF8", "PYTHONIOENCODING"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", *PROXIES, "NO_PROXY", "no_proxy"),
)
DEVICES = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_CACHE_PATH", "CUDA_MPS_"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"),
    "ATEN_CPU_CAPABILITY",  # acts on arithmetic, and is part of the device's recorded name
)
LIBRARIES = ("DO_NOT_TRACK", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_VERBOSITY", "TRANSFORMERS_OFFLINE")
PASSED = (*SERVICES, *SYSTEM, *DEVICES, *LIBRARIES)
NETWORK = ("NCCL_", "TORCH_NCCL_", "GLOO_", "UCX_", "FI_")  # also passed where DPO_ACCELERATE_CONFIG is set

# oneDNN's kernels (bf16 on a CPU) are made for a shape and kept: rows of a thousand lengths would hold hundreds of MiB.
KERNELS = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}  # torch's own, oneDNN's; 1024 each

# What a run forgets as it begins: its score and evaluation stages compute in its own process.
FORGOTTEN = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "TORCHELASTIC_", "PET_"),
    *("OMPI_", "PMI_", "PMIX_", "MV2_", "MPI_"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),  # these and the next: other arithmetic, unrecorded
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
    *("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_ACTIVE_MODEL_ID"),  # the recipe says
)


def is_listed(name: str, listed: Iterable[str]) -> bool:
    """Whether a variable is one of these names, or begins with one of these prefixes."""
    return any(name.startswith(entry) if entry.endswith("_") else name == entry for entry in listed)


def training_environment(given: Mapping[str, str], *, several: bool, keys: Iterable[str] = ()) -> dict[str, str]:
    """What the training process gets of `given`; `several`: of a launch with an accelerate configuration of its own.

    `keys`: names of what it asks endpoints with. What `.env` sets is in `given` already: the process does not read it,
    nor tell again what it may not set.
    """
    passed = (*PASSED, *NETWORK) if several else PASSED
    kept = {name: value for name, value in given.items() if is_listed(name, passed) and not is_listed(name, FORGOTTEN)}
    kept |= {name: given[name] for name in keys if name in given}
    path = python_path(given.get("PYTHONPATH", ""))
    return {**kept, **KERNELS, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", NO_DOTENV: "1"}


def forget_foreign() -> None:
    """Take out of this process what is FORGOTTEN, and see that its children import our modules.

    PYTHONSAFEPATH keeps the working folder out of their path (`python -P`): a `tasks.py` there is somebody else's.
    """
    for name in [name for name in os.environ if is_listed(name, FORGOTTEN)]:
        del os.environ[name]
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ["PYTHONPATH"] = python_path(os.environ.get("PYTHONPATH", ""))


def python_path(given: str) -> str:
    """PYTHONPATH for a child: `given`, in which relative folders are meant from here, with ours first where it must be.

    It need not where our packages are installed and no folder of `given` holds others of their names.
    """
    folders = [str(Path(folder).absolute()) for folder in given.split(os.pathsep) if folder]
    installed = str(ROOT) in (*site.getsitepackages(), site.getusersitepackages())
    if not installed or any(_is_foreign(name, folders) for name in OURS):
        folders = [str(ROOT), *(folder for folder in folders if folder != str(ROOT))]
    return os.pathsep.join(folders)


def _is_foreign(name: str, folders: list[str]) -> bool:
    found = PathFinder.find_spec(name, folders)
    return found is not None and (found.origin is None or not Path(found.origin).resolve().is_relative_to(ROOT))


def spare_loopback() -> None:
    """Where a proxy is set, NO_PROXY gets the names of this machine: a run's own servers are here."""
    if not any(os.environ.get(name) for name in PROXIES):
        return
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = dict.fromkeys(host.strip() for host in (*given.split(","), *LOOPBACK) if host.strip())
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in hosts else ",".join(hosts)
