"""Networks of neurons that spike once at most (`relif.methods.spike_time`), deployed to a core.

On the core they are integrate-and-fire neurons without leak (beta = 1) with exponential synaptic currents. In ticks,
with alpha = exp(-dt/tau), a spike adds W (1 - alpha^n) to a membrane n ticks later if the weight is W (1 - alpha): the
kernel of eq. 15. That a neuron spikes no second time is an inhibitory synapse to itself, stronger than all its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .compiler import compile
from .errors import DataError
from .host.board import Board
from .methods.spike_time import SpikeTimeNetwork
from .network import Network, decay
from .pattern import BoolArray, recall

__all__ = ["XOR", "deploy", "first_spikes", "volley", "xor_on_board"]

XOR = (((0.0, 0.0), 0), ((0.0, 2.0), 1), ((2.0, 0.0), 1), ((2.0, 2.0), 0))
"""The temporal XOR (Fig. 7): times of two input spikes in time constants, and the output that is to spike first."""
HIGHEST = 16.0
"""The largest threshold of a core."""


def deploy(model: SpikeTimeNetwork, *, ticks: int = 20, dt: float = 1e-3) -> Network:
    """The network for a core: an input `x`, layers `l1`, `l2`, ...; nothing of it learns.

    Parameters
    ----------
    ticks : int
        Ticks of a synaptic time constant.
    """
    if ticks < 2:
        raise DataError(f"a time constant must be at least 2 ticks, not {ticks}")
    layers = [w.detach().numpy() for w in model.weights]
    gain = 1.0 - decay(1.0, ticks)
    scale = min(HIGHEST, 1.0 / (gain * max(np.abs(w).max() for w in layers)))
    network = Network(dt=dt)
    below = network.input(len(layers[0]), name="x")
    for number, w in enumerate(layers, 1):
        layer = network.lif(w.shape[1], tau_mem=math.inf, tau_syn=ticks * dt, threshold=scale, name=f"l{number}")
        network.connect(below, layer, weights=w * gain * scale, plastic=False)
        inhibition = np.maximum(w, 0.0).sum(0) * gain * scale * 1.1 + 0.01
        network.connect(layer, layer, weights=-np.diag(inhibition), plastic=False,
                        range=2.0 ** math.ceil(math.log2(inhibition.max())))
        below = layer
    return network


def volley(times: Sequence[float], *, ticks: int, span: float) -> BoolArray:
    """A spike (ticks, neurons) of each neuron at its time; times and span in time constants of `ticks` ticks."""
    spikes = np.zeros((round(span * ticks), len(times)), dtype=bool)
    spikes[[round(time * ticks) for time in times], np.arange(len(times))] = True
    return spikes


def first_spikes(spikes: BoolArray, *, ticks: int) -> npt.NDArray[np.float64]:
    """When each neuron of spikes (ticks, neurons) spikes first, in time constants; infinity: never."""
    return np.where(spikes.any(0), spikes.argmax(0) / ticks, math.inf)


def xor_on_board(board: Board, model: SpikeTimeNetwork, *, ticks: int = 20,
                 span: float = 10.0) -> list[npt.NDArray[np.float64]]:
    """The first spikes of a network's two outputs for the four patterns of `XOR`, in time constants."""
    network = deploy(model, ticks=ticks)
    output = list(network.populations.values())[-1]
    compiled = compile(network, board.config, send=[output])
    compiled.load(board)
    return [first_spikes(recall(board, compiled, volley(times, ticks=ticks, span=span), output.size), ticks=ticks)
            for times, _ in XOR]
