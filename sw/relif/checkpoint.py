"""Checkpoints: everything that a training run needs to go on as if it had not stopped, in one file.

A checkpoint is a zip archive of a JSON header, one NumPy array for each projection's weights, and a
SHA-256 digest of all of them. It is written beside its place and then renamed, so that the file of
the last finished epoch stays whole whatever happens during the next. What is stored are logical
weights (as the network has them, not as a core lays them out), so a checkpoint of one core goes on
on another with the same number formats.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import CheckpointError
from .version import __version__

__all__ = ["FORMAT", "Checkpoint", "difference", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
"""Version of the file format; a reader refuses a newer one."""

HEADER, DIGEST = "relif.json", "sha256"
_DATE = (1980, 1, 1, 0, 0, 0)       # equal states make equal files


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a training run at the end of an epoch.

    Parameters
    ----------
    network : dict
        Description of the network and its learning rule, in JSON's types.
    task : str
        Name of the task.
    seed : int
        Seed of split, order, weights, feedback and rounding.
    epoch : int
        Epochs that are finished.
    tick : int
        The core's tick register: the counter of the rounding stream.
    config : dict
        Fields of the core configuration that it ran on.
    weights : mapping of str to integer array
        Weights of each projection, (sources, targets), in units of the projection's scale.
    options : dict
        Whatever else the run was started with (epochs in all, rate, rule).
    history : list of dict
        One entry a finished epoch: accuracy, seconds.
    """

    network: dict[str, Any]
    task: str
    seed: int
    epoch: int
    tick: int
    config: dict[str, Any]
    weights: Mapping[str, npt.NDArray[np.integer[Any]]]
    options: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def require_network(self, network: Mapping[str, Any], where: str | Path = "checkpoint") -> None:
        """`CheckpointError`, which names the first difference, unless the network is this one."""
        found = difference(self.network, _plain(network))
        if found:
            raise CheckpointError(f"{where}: made for another network: {found}")


def _plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples as lists, integers and floats of Python."""
    return json.loads(json.dumps(value))


def difference(old: Any, new: Any, name: str = "") -> str | None:
    """The first difference of two JSON values in words, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            path = f"{name}.{key}" if name else str(key)
            if key not in new or key not in old:
                return f"{path} is only in the {'checkpoint' if key in old else 'network'}"
            if found := difference(old[key], new[key], path):
                return found
        return None
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{name} has {len(old)} entries in the checkpoint, {len(new)} in the network"
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            label = one.get("name", index) if isinstance(one, dict) else index
            if found := difference(one, other, f"{name}[{label}]"):
                return found
        return None
    if old != new or type(old) is not type(new):
        return f"{name} is {old!r} in the checkpoint, {new!r} in the network"
    return None


def _digest(members: Mapping[str, bytes]) -> str:
    """SHA-256 of names, lengths and contents in order."""
    digest = hashlib.sha256()
    for name in sorted(members):
        digest.update(f"{name}\n{len(members[name])}\n".encode())
        digest.update(members[name])
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint in one step: the file at `path` is the old one or the new one, never a part.

    Raises `CheckpointError` where the folder cannot be written.
    """
    path = Path(path)
    header = {
        "format": FORMAT, "relif": __version__, "task": checkpoint.task, "seed": checkpoint.seed,
        "epoch": checkpoint.epoch, "tick": checkpoint.tick, "options": checkpoint.options,
        "config": checkpoint.config, "network": checkpoint.network, "history": checkpoint.history,
        "weights": list(checkpoint.weights),
    }
    members = {HEADER: json.dumps(header, indent=1).encode()}
    for index, weights in enumerate(checkpoint.weights.values()):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(weights, dtype=np.int32), allow_pickle=False)
        members[f"weights{index}.npy"] = buffer.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, content in {**members, DIGEST: _digest(members).encode()}.items():
                        archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Make the new name outlive a loss of power, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _members(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except Exception as error:      # zipfile, zlib and struct each fail in their own way on bad bytes
        raise CheckpointError(f"{path}: not a checkpoint, or cut short or damaged ({error})") from None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises `CheckpointError` if the file does not exist, is no checkpoint, is cut short, has a bit
    changed, or is of a newer format.
    """
    path = Path(path)
    members = _members(path)
    expected = members.pop(DIGEST, None)
    if expected is None or HEADER not in members:
        raise CheckpointError(f"{path}: not a checkpoint: a zip archive without {HEADER} and {DIGEST}")
    if expected.decode("ascii", "replace") != _digest(members):
        raise CheckpointError(f"{path}: damaged: its SHA-256 is not the one that it was written with")
    header = json.loads(members[HEADER])
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise CheckpointError(f"{path}: has format {header.get('format')!r} of Relif "
                              f"{header.get('relif', '?')}; this version reads up to format {FORMAT}")
    weights = {
        name: np.load(io.BytesIO(members[f"weights{index}.npy"]), allow_pickle=False)
        for index, name in enumerate(header["weights"])
    }
    return Checkpoint(
        network=header["network"], task=header["task"], seed=header["seed"], epoch=header["epoch"],
        tick=header["tick"], config=header["config"], weights=weights, options=header["options"],
        history=header["history"],
    )
