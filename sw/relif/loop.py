"""Learning in the loop: the board runs forward, the host computes the gradient and writes the weights back.

For each batch the board reports every spike of every tick. The float model runs along on these spikes, not on its
own, and back-propagates through time with the surrogate gradient (eq. 7); so the gradient is that of what the board
did, number formats included. The host keeps the weights in floating point; the board has them rounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from relif_hw.isa import Space, TickFlag

from .compiler import Compiled, compile
from .encode import queue_entries
from .errors import BoardError, DataError, NetworkError
from .host.board import Board
from .model.float import FloatNetwork
from .network import Network
from .tasks.base import Task
from .training import Epoch, Progress, Run, evaluate, order

__all__ = ["fit_in_the_loop"]


def fit_in_the_loop(network: Network, board: Board, task: Task, *, epochs: int | None = None, seed: int | None = None,
                    batch: int = 32, rate: float = 0.01, progress: Callable[[Progress], None] | None = None,
                    checkpoint: Callable[[Run], None] | None = None, test_every: int = 0) -> Run:
    """Train a network by BPTT in the loop, with the softmax cross-entropy at every tick from `task.learn_from` on.

    Parameters
    ----------
    network : Network
        One input population of the task's size; its rule names the output and the softmax's gain.
    batch : int
        Samples of a step.
    rate : float
        Step of Adam at the start, as a part of each projection's range; it ends at zero, along half a cosine.
    epochs, seed, progress, checkpoint, test_every
        As for `training.fit`.

    Returns
    -------
    Run
        With the weights at the end, which the board has too.
    """
    epochs = task.epochs if epochs is None else epochs
    seed = task.seed if seed is None else seed
    if epochs < 1 or batch < 1:
        raise DataError(f"epochs and batch must be at least 1, not {epochs} and {batch}")
    if network.rule is None or network.output is None or network.output.kind != "readout":
        raise NetworkError("learning in the loop needs a readout that has the error: call the network's learn()")
    spiking = [p.name for p in network.populations.values() if p.kind == "lif"]
    compiled = compile(network, board.config, send=[*spiking, network.output])
    run = Run(compiled=compiled, task=task, epochs=epochs)
    run.store(board)
    model = FloatNetwork(network)
    plastic = [(name, model.weight(name), p.range) for name, p in network.projections.items() if p.plastic]
    stepper = torch.optim.Adam([{"params": [weights], "lr": rate * limit} for _, weights, limit in plastic])
    steps = epochs * -(-len(task.train) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, steps)
    while run.epoch < epochs:
        start, right, done = time.monotonic(), 0, 0
        for chunk in np.split(order(seed, run.epoch, len(task.train)), range(batch, len(task.train), batch)):
            values, classes = task.train.values[chunk], task.train.classes[chunk]
            shadow = _round(model, compiled, board)
            spikes, membrane = _forward(compiled, board, task, task.encode(values))
            right += int((membrane.argmax(1) == classes).sum())
            loss = _loss(model, task, task.encode(values), spikes, torch.from_numpy(classes))
            stepper.zero_grad()
            loss.backward()     # type: ignore[no-untyped-call]
            for weights, exact in zip(model.weights, shadow, strict=True):
                weights.data = exact
            stepper.step()
            schedule.step()
            for _, weights, limit in plastic:
                weights.data.clamp_(-limit, limit)
            done += len(chunk)
            if progress:
                progress(Progress(run.epoch + 1, epochs, done, len(task.train), right / done))
        for weights, exact in zip(model.weights, _round(model, compiled, board), strict=True):
            weights.data = exact
        seconds = time.monotonic() - start
        run.epoch += 1
        run.fetch(board)
        tested = test_every and run.epoch % test_every == 0
        test = evaluate(board, compiled, task, task.test) if tested else None
        run.history.append(Epoch(run.epoch, right / len(task.train), seconds, test))
        if checkpoint:
            checkpoint(run)
    return run


def _round(model: FloatNetwork, compiled: Compiled, board: Board) -> list[torch.Tensor]:
    """Round the model's weights as the board's, and write them to it; returns the exact ones."""
    exact = [weights.data.clone() for weights in model.weights]
    image = np.zeros((compiled.layout.weight_words, compiled.config.lanes), dtype=np.int64)
    for name, projection in compiled.network.projections.items():
        if not projection.hashed:
            integers = compiled.to_integers(name, model.weight(name).detach().numpy())
            compiled.put_weights(image, name, integers)
            model.weight(name).data = torch.tensor(compiled.to_floats(name, integers), dtype=model.dtype)
    board.write(Space.WEIGHTS, 0, image)
    return exact


def _forward(compiled: Compiled, board: Board, task: Task, spikes: npt.NDArray[np.bool_]
             ) -> tuple[dict[str, torch.Tensor], npt.NDArray[np.int64]]:
    """What the board does: all spikes by population (samples, ticks, neurons), and the output at the end."""
    network = compiled.network
    assert network.output is not None
    (x,) = [p for p in network.populations.values() if p.kind == "input"]
    flags = np.full(task.ticks, TickFlag.SEND, dtype=np.int64)
    flags[0] |= TickFlag.RESET
    board.submit(queue_entries(spikes, compiled.base(x), flags, np.zeros(len(spikes), dtype=np.int64)))
    results, ticks = board.results(), len(spikes) * task.ticks
    by_stream = {number: [r.values for r in results if r.stream == number] for number in {r.stream for r in results}}
    counts = {len(values) for values in by_stream.values()}
    if counts != {ticks}:
        raise BoardError(f"the board sent {sorted(counts)} results of a population for {ticks} ticks")
    shape = len(spikes), task.ticks, -1
    recorded = {}
    for p in network.populations.values():
        if p.kind == "lif":
            values = np.stack(by_stream[compiled.population_number(p)])[:, :p.size]
            recorded[p.name] = torch.from_numpy(values.reshape(shape).astype(np.float32))
    return recorded, np.stack(by_stream[compiled.population_number(network.output)]).reshape(shape)[:, -1]


def _loss(model: FloatNetwork, task: Task, inputs: npt.NDArray[np.bool_], recorded: dict[str, torch.Tensor],
          classes: torch.Tensor) -> torch.Tensor:
    network = model.network
    assert network.output is not None and network.rule is not None
    membranes = model(torch.from_numpy(inputs), recorded).membranes[network.output.name][:, task.learn_from:]
    return nn.functional.cross_entropy(network.rule.softmax_gain * membranes.flatten(0, 1),
                                       classes.repeat_interleave(membranes.shape[1]))
