"""Snapshots of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from omniform.errors import PluginError, RunError

__all__ = ["download", "is_hub_name"]

_NAME = re.compile(r"[\w][\w.-]*/[\w.-]+(@[\w./-]+)?", re.ASCII)


def is_hub_name(source: str) -> bool:
    """Tell whether this reads as `owner/name` or `owner/name@revision`."""
    return _NAME.fullmatch(source) is not None


def download(source: str) -> Path:
    """Fetch JSON and safetensors of `owner/name[@revision]` to the hub's cache, and return the snapshot's folder.

    `HF_HUB_OFFLINE` and the other variables of huggingface_hub have their meanings; no code is fetched.

    Raises:
        PluginError: huggingface_hub is absent.
        RunError: there is no such snapshot, or no way to it.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise PluginError(
            f"{source} is no folder here, and the hub needs huggingface_hub, which is absent; "
            "run pip install 'omniform[codegen]'"
        ) from None
    name, _, revision = source.partition("@")
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=["*.json", "*.safetensors"],
            ignore_patterns=["*/*", "consolidated*"],  # other formats of the same weights
        )
    except Exception as error:  # those of the hub and of its HTTP client have no other ancestor
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(
            f"expected a folder {source} here, or a model of that name on the hub, got: {reason}; "
            "check the name, the revision, and the connection or HF_HUB_OFFLINE"
        ) from None
    return Path(folder)
