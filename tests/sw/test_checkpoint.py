"""Checkpoints come back as they were, and whatever is not a whole one is refused by name."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import zipfile

import numpy as np
import pytest

from relif import checkpoint as module
from relif.checkpoint import Checkpoint, difference, load_checkpoint, save_checkpoint
from relif.errors import CheckpointError


@pytest.fixture
def checkpoint():
    random = np.random.default_rng(0)
    return Checkpoint(
        network={"dt": 0.001, "populations": [{"name": "x", "size": 5}, {"name": "h", "size": 7}]},
        task="digits", seed=3, epoch=2, tick=123456, config={"lanes": 4, "weight_bits": 8},
        weights={"x->h": random.integers(-128, 128, (5, 7)), "h->y": random.integers(-128, 128, (7, 2))},
        options={"epochs": 9},
        history=[{"epoch": 1, "train_accuracy": 0.5}, {"epoch": 2, "train_accuracy": 0.75}],
    )


def test_comes_back_as_it_was(checkpoint, tmp_path):
    path = tmp_path / "new" / "run.relif"
    save_checkpoint(checkpoint, path)
    loaded = load_checkpoint(path)
    for field in dataclasses.fields(Checkpoint):
        if field.name != "weights":
            assert getattr(loaded, field.name) == getattr(checkpoint, field.name)
    assert list(loaded.weights) == ["x->h", "h->y"]
    for name, weights in checkpoint.weights.items():
        assert (loaded.weights[name] == weights).all()
    assert os.listdir(path.parent) == ["run.relif"]


def test_equal_states_make_equal_files(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "a")
    save_checkpoint(checkpoint, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.relif: No such file or directory"):
        load_checkpoint(tmp_path / "none.relif")


def test_cut_short_anywhere(checkpoint, tmp_path):
    path = tmp_path / "run.relif"
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"run\.relif: (not a checkpoint|damaged)"):
            load_checkpoint(path)


def test_a_changed_bit_is_refused_or_harmless(checkpoint, tmp_path):
    """A flipped bit in what is stored is found; one in the archive's own dates changes nothing."""
    path = tmp_path / "run.relif"
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 11):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert loaded.network == checkpoint.network
            assert all((loaded.weights[name] == checkpoint.weights[name]).all() for name in loaded.weights)
    assert refused > len(content) // 11 // 2


def test_changed_contents_with_a_good_zip(checkpoint, tmp_path):
    path = tmp_path / "run.relif"
    save_checkpoint(checkpoint, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["relif.json"] = members["relif.json"].replace(b"123456", b"123457")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="damaged: its SHA-256 is not the one"):
        load_checkpoint(path)


def test_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(CheckpointError, match=r"not a checkpoint: a zip archive without relif\.json"):
        load_checkpoint(tmp_path / "other.zip")


def test_newer_format(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", 2)
    save_checkpoint(checkpoint, tmp_path / "new")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 2 of Relif .*; this version reads up to format 1"):
        load_checkpoint(tmp_path / "new")


CHANGES = {
    "another size": (lambda n: n["populations"][1].update(size=8),
                     r"populations\[h\]\.size is 7 in the checkpoint, 8 in the network"),
    "one more population": (lambda n: n["populations"].append({"name": "y", "size": 2}),
                            "populations has 2 entries in the checkpoint, 3 in the network"),
    "a field that is gone": (lambda n: n.pop("dt"), "dt is only in the checkpoint"),
    "a field that is new": (lambda n: n.update(rule="eprop"), "rule is only in the network"),
    "another type": (lambda n: n["populations"][0].update(size=5.0),
                     r"populations\[x\]\.size is 5 in the checkpoint, 5\.0 in the network"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_another_network_is_refused_with_the_difference(checkpoint, case):
    change, message = CHANGES[case]
    network = json.loads(json.dumps(checkpoint.network))
    checkpoint.require_network(network)
    change(network)
    with pytest.raises(CheckpointError, match=rf"run\.relif: made for another network: {message}"):
        checkpoint.require_network(network, "run.relif")


def test_tuples_are_lists(checkpoint):
    assert difference([1, 2], [1, 2]) is None
    populations = tuple(checkpoint.network["populations"])
    checkpoint.require_network({**checkpoint.network, "populations": populations})


def test_the_old_file_stays_when_writing_fails(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "run.relif"
    save_checkpoint(checkpoint, path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"run\.relif: cannot be written: No space left on device"):
        save_checkpoint(dataclasses.replace(checkpoint, epoch=3), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.relif"]


def test_a_folder_in_the_place_of_the_file(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written: Is a directory"):
        save_checkpoint(checkpoint, tmp_path)
