"""Exports on the Hugging Face Hub: one by its name, and one of one's own for others. Needs huggingface_hub."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from arlab.runs.resolve import EXPORT_FILE

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LONGEST = 200
# Of a repository nothing else is asked for: what an export holds, and no code.
_FILES = [EXPORT_FILE, "*.safetensors", "README.md", "config.yaml"]
# What one export has and the next one in the same repository may not.
_LEFT = ["tokenizer.safetensors", "config.yaml"]
_FORBIDDEN, _FORBIDS = (401, 403), "the hub lets you not write there (hf auth login?)"


def download(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> Path:
    """The folder of an export on the hub, downloaded where it is not yet.

    Args:
        name: OWNER/NAME.
        revision: a branch, tag or commit; the newest by default.
        cache_dir: where downloads are kept; huggingface_hub's own place by default.

    Raises:
        ValueError: huggingface_hub is not installed, there is no such repository, the hub cannot be reached, or what
            is there is no export.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name}: no such folder here, and no name on the hub, which is OWNER/NAME")
    hub = _package(f"{name}: no such folder here; to look for it on the hub")
    try:
        found = hub.snapshot_download(name, revision=revision, cache_dir=cache_dir, allow_patterns=_FILES)
    except Exception as error:  # of the hub, of its network client, of the file system
        raise ValueError(f"{name}: {_why(hub, error, revision)}") from error
    folder = Path(found)
    if not (folder / EXPORT_FILE).is_file():
        raise ValueError(
            f"{name}: on the hub, but no export of arlab, it has no {EXPORT_FILE}; released weights of others are read "
            "by arlab import"
        )
    return folder


def push(folder: Path, name: str, *, private: bool = True) -> str:
    """Upload an export, into a repository that is made where there is none; gives its address.

    Of an export that was there before no file is left over.

    Args:
        folder: of the export.
        name: OWNER/NAME.
        private: only its owner may read it, if it is made now.

    Raises:
        ValueError: it cannot be written, or not reached.
    """
    hub = refuse_unpushable(name)
    try:
        api = hub.HfApi()
        url = str(api.create_repo(name, repo_type="model", private=private, exist_ok=True))
        api.upload_folder(repo_id=name, folder_path=str(folder), commit_message="arlab export", delete_patterns=_LEFT)
    except Exception as error:  # of the hub, of its network client, of the file system
        raise ValueError(f"push: {name}: {_why_not(hub, error)}") from error
    return url


def refuse_unpushable(name: str) -> Any:
    """See that a name can be one on the hub; gives the package.

    Raises:
        ValueError: it cannot, or huggingface_hub is not installed.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"push: expected OWNER/NAME, got {name!r}")
    return _package("push:")


def _package(why: str) -> Any:
    try:
        importlib.import_module("huggingface_hub.errors")
        return importlib.import_module("huggingface_hub")
    except Exception as error:  # a broken installation raises anything
        raise ValueError(f"{why} install huggingface_hub: pip install huggingface_hub") from error


def _why(hub: Any, error: Exception, revision: str | None) -> str:
    """What went wrong with a download, in words."""
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it"
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return "no such folder here, and the hub shows you no such repository (to see private ones: hf auth login)"
    if isinstance(error, hub.errors.HFValidationError):
        return f"no such folder here, and no name on the hub ({_told(error)})"
    answer = _answer(error)
    if answer is None:
        return f"no such folder here, and the hub cannot be reached ({_told(error)})"
    return f"the hub refuses ({_told(answer)})"


def _why_not(hub: Any, error: Exception) -> str:
    """What went wrong with an upload, in words."""
    if isinstance(error, hub.errors.HFValidationError):
        return f"no name on the hub: {_told(error)}"
    answer: Any = _answer(error)
    if answer is None:
        return f"the hub cannot be reached: {_told(error)}"
    return f"{_FORBIDS if answer.response.status_code in _FORBIDDEN else 'the hub refuses'}: {_told(answer)}"


def _answer(error: BaseException | None) -> BaseException | None:
    """The error that holds what the hub answered; the client raises others because of it. None where it did not."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return error


def _told(error: BaseException) -> str:
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
