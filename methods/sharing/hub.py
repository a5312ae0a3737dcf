"""The model hub: an exported folder up to it, or down from it, through huggingface_hub."""

from __future__ import annotations

from pathlib import Path

from config import UserError
from utils.checkpoints.folder import CAPTIONS, ENCODER, SETTINGS, WEIGHTS

FILES = ["README.md", SETTINGS, WEIGHTS, CAPTIONS, f"{ENCODER}/*", "samples/*.gif"]  # of ours in a repository


class HubError(UserError):
    """The hub cannot be reached, refuses, or has no such model."""


def fetch(name: str, *, revision: str | None = None) -> Path:
    """The folder of the model ``name``, OWNER/MODEL, from the hub or its cache on this machine.

    Raises:
        HubError: neither has it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except (OSError, HFValidationError, ValueError) as error:  # the client's errors of network and hub are OSErrors
        raise HubError(
            f"{name} is no folder here, and the hub has no such model or cannot be reached ({_first_line(error)}). "
            "Give the path of a checkpoint or an exported folder, or OWNER/MODEL."
        ) from error


def push(folder: Path, repo: str) -> str:
    """Upload an exported folder as the model ``repo``, which is made where there is none. Returns its address.

    Raises:
        HubError: no token, or the hub refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError

    if not get_token():
        raise HubError(f"--push {repo} needs a token of the hub: run hf auth login, or set HF_TOKEN.")
    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo, allow_patterns=FILES, commit_message="Export")
    except (OSError, HFValidationError, ValueError) as error:
        raise HubError(f"--push {repo}: {_first_line(error)}. The folder {folder} is whole; push it again.") from error
    return f"{api.endpoint}/{repo}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")[:200]
