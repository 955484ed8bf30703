"""The task `mnist`: 70,000 handwritten digits of 28 x 28 pixels, in ten classes, from files of your own.

Needs the four idx files (gzipped or not) under their usual names, see `FILES`. A pixel (0 to 255, divided by 255)
is the rate of a phase accumulator, as in `digits`: white spikes at every other tick, for 7 ticks. The last three are
silent, for a spike reaches the readout four ticks later: what came in them would be seen by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..encode import phase_accumulator
from ..errors import DataError
from ..network import Network
from .base import Split, Task
from .idx import read_idx
from .layers import layered

__all__ = ["Mnist"]

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SILENT = 3
"""Ticks at the end of a sample without spikes of the input."""
ADVICE = ("MNIST is published as the files " + ", ".join(FILES) + " (.gz), for example at "
          "https://ossci-datasets.s3.amazonaws.com/mnist/ or https://storage.googleapis.com/cvdf-datasets/mnist/; "
          "name their folder with --data or in RELIF_DATA")


class Mnist(Task):
    """MNIST; 784 inputs, 200 hidden neurons, 10 readouts.

    Parameters
    ----------
    seed : int
        Seed of weights, feedback, rounding and order; the split is the published one.
    hidden : sequence of int
        Neurons of the default network's hidden populations.
    rule : str
        What it learns with, one of `relif.rules.PUBLISHED`.
    data : path
        Folder of the files, or one above a folder `mnist`; default: $RELIF_DATA.
    """

    name = "mnist"
    summary = "70,000 handwritten digits, from --data or $RELIF_DATA"
    ticks = 10
    epochs = 3
    decay = 0.2
    learn_from = 6
    learn_every = 2
    n_inputs = 784
    n_classes = 10
    hidden: Sequence[int] = (200,)
    takes_data = True
    bptt_epochs = 3

    def __init__(self, seed: int = 0, *, hidden: Sequence[int] | None = None, rule: str = "dfa",
                 data: str | Path | None = None) -> None:
        super().__init__(seed, hidden=hidden, rule=rule, data=data)
        if self.data is None:
            raise DataError(f"mnist has no data. {ADVICE}")
        folder = self.data / "mnist" if (self.data / "mnist").is_dir() else self.data
        try:
            self.train, self.test = (self._split(folder, *names) for names in (FILES[:2], FILES[2:]))
        except DataError as error:
            raise DataError(f"{error}. {ADVICE}") from None

    def _split(self, folder: Path, images: str, labels: str) -> Split:
        pixels, classes = read_idx(folder, images, axes=3), read_idx(folder, labels, axes=1)
        if pixels.shape[1] * pixels.shape[2] != self.n_inputs:
            raise DataError(f"{folder / images}: images of {pixels.shape[1]} x {pixels.shape[2]} pixels, not 28 x 28")
        if len(classes) and classes.max() >= self.n_classes:
            raise DataError(f"{folder / labels}: class {classes.max()} does not exist: mnist has classes 0 to 9")
        return Split(pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255), classes.astype(np.int64))

    def encode(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        spikes = phase_accumulator(values, self.ticks - SILENT, rate=0.5)
        return np.pad(spikes, ((0, 0), (0, SILENT), (0, 0)))

    def network(self) -> Network:
        return layered(self, tau_mem=10e-3, between=0.5, first=(0.5, 1.0), last=(2**-5, 0.0375, 0.009), width=2.0,
                       rate=0.004, dead_zone=0.04, softmax_gain=8.0)
