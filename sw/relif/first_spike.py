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

from relif_hw.isa import TickFlag, event_entry, tick_entry

from .compiler import Compiled, compile
from .errors import BoardError, DataError
from .host.board import Board
from .methods.spike_time import SpikeTimeNetwork
from .network import Network, decay

__all__ = ["XOR", "deploy", "first_spikes", "xor_on_board"]

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


def first_spikes(board: Board, compiled: Compiled, times: Sequence[float], *, ticks: int,
                 span: float = 10.0) -> npt.NDArray[np.float64]:
    """When each output spikes first, in time constants; infinity: not within `span` of them.

    `compiled` reports the output alone; `times` are those of the inputs' spikes, in time constants of `ticks` ticks.
    """
    start = compiled.base("x")
    at = [round(time * ticks) for time in times]
    entries: list[int] = []
    for tick in range(round(span * ticks)):
        entries += [event_entry(start + number) for number, moment in enumerate(at) if moment == tick]
        entries.append(tick_entry(TickFlag.SEND | (TickFlag.RESET if tick == 0 else TickFlag(0))))
    board.submit(np.array(entries, dtype=np.uint16))
    results = board.results()
    if len(results) != round(span * ticks):
        raise BoardError(f"the board sent {len(results)} results for {round(span * ticks)} ticks")
    outputs = list(compiled.network.populations.values())[-1].size
    spikes = np.stack([result.values for result in results])[:, :outputs] > 0
    return np.where(spikes.any(0), spikes.argmax(0) / ticks, math.inf)


def xor_on_board(board: Board, model: SpikeTimeNetwork, *, ticks: int = 20) -> list[npt.NDArray[np.float64]]:
    """The first spikes of a network's two outputs for the four patterns of `XOR`, in time constants."""
    network = deploy(model, ticks=ticks)
    compiled = compile(network, board.config, send=[list(network.populations)[-1]])
    compiled.load(board)
    return [first_spikes(board, compiled, times, ticks=ticks) for times, _ in XOR]
