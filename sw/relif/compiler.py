"""The compiler: from the description of a network to a tick program and memory images.

What does not fit the core is refused with one `CompileError`, which says what, by how much, and which
preset would hold it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from relif_hw.config import PRESETS, CoreConfig
from relif_hw.isa import Instruction, Register, Space

from .errors import CompileError, NetworkError
from .layout import Layout, Place, Stored, plan
from .network import Network, Population, check_weights
from .program import ProgramWriter, learn_factor, rate_too_large, signal_factor, surrogate_tables
from .rules import EProp, feedback_seed

__all__ = ["Compiled", "compile"]

IntArray = npt.NDArray[np.int64]


class Memories(Protocol):
    """Whatever has memories to write: a board, or a `FixedCore`."""

    def write(self, space: Space, address: int, values: IntArray) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A network for a core: what is written to it, and where everything is.

    Parameters
    ----------
    network : Network
    config : CoreConfig
    program : list of Instruction
    layout : Layout
        Places of populations, projections and traces; `notes` for the user.
    learns : dict of int to Stored
        The projection of each LEARN instruction whose scalars have the learning rate, by its address in the program.
    posts : dict of int to Stored
        A projection into the population of each POST instruction that has the learning rate (with eligibility
        traces of single synapses), by its address.
    """

    network: Network
    config: CoreConfig
    program: list[Instruction]
    layout: Layout
    learns: dict[int, Stored]
    posts: dict[int, Stored]

    # Images.

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of the layout, in words."""
        return self.layout.notes

    @property
    def images(self) -> dict[Space, IntArray]:
        """What every memory starts with, shape (words, elements), from word 0 on, as far as it is used."""
        layout, lanes = self.layout, self.config.lanes
        tables, _ = surrogate_tables(self.network, self.config)
        registers = np.zeros((len(Register), 1), dtype=np.int64)
        registers[Register.SEED] = self.network.seed
        registers[Register.FEEDBACK_SEED] = feedback_seed(self.network.seed)
        weights = np.zeros((layout.weight_words, lanes), dtype=np.int64)
        for name, projection in self.network.projections.items():
            if projection.hashed:
                continue
            self.put_weights(weights, name, self.to_integers(name, self.network.initial_weights(projection)))
        return {
            Space.REGISTERS: registers,
            Space.PROGRAM: np.array([i.encode() for i in self.program], dtype=np.int64),
            Space.WEIGHTS: weights,
            Space.STATE: np.zeros((layout.state_words, lanes), dtype=np.int64),
            Space.POST: np.zeros((layout.neuron_words, lanes), dtype=np.int64),
            Space.SPIKES: np.zeros((layout.neuron_words, lanes), dtype=np.int64),
            Space.SURROGATE: np.array(sum(tables, []), dtype=np.int64).reshape(-1, 1),
            Space.TARGETS: np.zeros((self.config.max_outputs, 1), dtype=np.int64),
            Space.ELIGIBILITY: np.zeros((layout.eligibility_words, lanes), dtype=np.int64),
        }

    def load(self, board: Memories) -> None:
        """Write everything: the network at its start, tick 0."""
        for space, image in self.images.items():
            if len(image):
                board.write(space, 0, image)

    # Events.

    def base(self, population: Population | str) -> int:
        """Event address of neuron 0 of a population; neuron i has this plus i."""
        return self._place(population).base * self.config.lanes

    def event_address(self, population: Population | str, neuron: int) -> int:
        """Event address of a neuron of an input population; `NetworkError` for any other."""
        place = self._place(population)
        if place.population.kind != "input":
            raise NetworkError(f"{place.population.name!r} is no input: it takes no events")
        if not 0 <= neuron < place.population.size:
            raise NetworkError(f"input {place.population.name!r} has neurons 0 to "
                               f"{place.population.size - 1}, not {neuron}")
        return place.base * self.config.lanes + neuron

    def population_number(self, population: Population | str) -> int:
        """The `stream` of a population's results."""
        return list(self.network.populations).index(self._place(population).population.name)

    def _place(self, population: Population | str) -> Place:
        name = population if isinstance(population, str) else population.name
        if name not in self.layout.places:
            raise NetworkError(f"{name!r} is no population of this network; "
                               f"there are {', '.join(self.layout.places)}")
        return self.layout.places[name]

    # Weights.

    def _stored(self, name: str) -> Stored:
        if name not in self.layout.stored:
            raise NetworkError(f"{name!r} is no projection of this network; "
                               f"there are {', '.join(self.layout.stored) or 'none'}")
        return self.layout.stored[name]

    def lsb(self, name: str) -> float:
        """The weight that integer 1 of a projection stands for."""
        return 2.0 ** -self._stored(name).exponent

    def to_integers(self, name: str, weights: npt.ArrayLike) -> IntArray:
        """Weights (pre, post) as the core's integers, to nearest; the range's upper end becomes the
        largest integer. `NetworkError` for NaN, infinity or what is out of range."""
        projection = self._stored(name).projection
        array = check_weights(f"projection {name}", weights, projection.pre.size, projection.post.size,
                              projection.range)
        top = (1 << self.config.weight_bits - 1) - 1
        return np.clip(np.rint(array / self.lsb(name)), -top - 1, top).astype(np.int64)

    def to_floats(self, name: str, integers: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The inverse of `to_integers`, exact."""
        return np.asarray(integers, dtype=np.float64) * self.lsb(name)

    def put_weights(self, image: IntArray, name: str, integers: npt.ArrayLike) -> None:
        """Put a projection's integers (pre, post) into an image of the synapse memory."""
        stored = self._stored(name)
        array = np.asarray(integers)
        top = (1 << self.config.weight_bits - 1) - 1
        check_weights(f"projection {name}, in integers", array, stored.pre.population.size,
                      stored.post.population.size, top + 1)
        if array.dtype.kind not in "iu" or (array.size and array.max() > top):
            raise NetworkError(f"projection {name}: weights must be integers from {-top - 1} to {top}")
        block = np.zeros((stored.rows, stored.row_words * self.config.lanes), dtype=np.int64)
        rows = array.T if stored.by_target else array
        block[:, :rows.shape[1]] = rows
        words = stored.rows * stored.row_words
        image[stored.base:stored.base + words] = block.reshape(words, self.config.lanes)

    def take_weights(self, image: IntArray) -> dict[str, IntArray]:
        """The integers (pre, post) of every projection, from an image of the synapse memory."""
        weights = {}
        for name, stored in self.layout.stored.items():
            if stored.projection.hashed:
                continue
            words = stored.rows * stored.row_words
            block = image[stored.base:stored.base + words].reshape(stored.rows, -1)
            length = (stored.pre if stored.by_target else stored.post).population.size
            rows = block[:, :length]
            weights[name] = np.ascontiguousarray(rows.T if stored.by_target else rows)
        return weights

    # Learning rate.

    def rate_instructions(self, rate: float) -> dict[int, Instruction]:
        """The instructions that change for another learning rate, by their addresses in the program."""
        assert self.network.rule is not None
        EProp(rate=rate)      # refuses what is no rate
        changed = {}
        for address, stored in self.learns.items():
            factor = learn_factor(stored, rate, self.config)
            if factor is None:
                raise CompileError(rate_too_large(stored, rate))
            changed[address] = dataclasses.replace(self.program[address], x=factor[0], shift=factor[1])
        for address, stored in self.posts.items():
            x = signal_factor(stored, rate, self.config)
            if x is None:
                raise CompileError(rate_too_large(stored, rate))
            changed[address] = dataclasses.replace(self.program[address], x=x)
        return changed

    def write_rate(self, board: Memories, rate: float) -> None:
        """Set the learning rate of a board, for everything that is submitted later."""
        for address, instruction in self.rate_instructions(rate).items():
            board.write(Space.PROGRAM, address, np.array([instruction.encode()], dtype=np.int64))


def compile(network: Network, config: CoreConfig, *,
            send: Sequence[Population | str] | None = None) -> Compiled:
    """Compile a network for a core.

    Parameters
    ----------
    send : populations, optional
        What a tick with the flag SEND reports, in this order: membranes of readouts, spikes of the
        others. Default: all readouts but those of local errors.

    Raises `CompileError` if the network does not fit.
    """
    network.require_learnable()
    if send is None:
        local = network.error_populations()[1:] if network.rule else []
        send = [p for p in network.populations.values() if p.kind == "readout" and p not in local]
    names = [p if isinstance(p, str) else p.name for p in send]
    for name in names:
        if name not in network.populations:
            raise NetworkError(f"{name!r} is no population of this network; "
                               f"there are {', '.join(network.populations)}")
    compiled, problems = _build(network, config, names)
    if not problems:
        return compiled
    candidates = sorted(PRESETS.values(), key=lambda p: p.compact and not config.compact)    # slower ones last
    fits = next((p.name for p in candidates if not _build(network, p, names)[1]), None)
    advice = (f"preset {fits!r} would hold it" if fits else
              "no preset would hold it, a configuration of its own may (--config)")
    raise CompileError(f"the network does not fit core {config.name!r}: {'; '.join(problems)}; {advice}")


def _build(network: Network, config: CoreConfig, send: list[str]) -> tuple[Compiled, list[str]]:
    """The network compiled for a core, and what does not fit it (then the rest is of no use)."""
    layout = plan(network, config)
    problems = list(layout.problems)
    tables, _ = surrogate_tables(network, config)
    if len(tables) > config.surrogates:
        problems.append(f"{len(tables)} different surrogates are needed, but the core has tables for "
                        f"{config.surrogates} ({len(tables) - config.surrogates} too many)")
    writer = ProgramWriter(network, config, layout, send)
    compiled = Compiled(network=network, config=config, layout=layout, program=writer.program, learns=writer.learns,
                        posts=writer.posts)
    if not problems:
        problems += writer.write()
        if len(compiled.program) > config.program_length:
            need, have = len(compiled.program), config.program_length
            problems.append(f"the tick program has {need} instructions, but the core holds {have} "
                            f"({need - have} too many)")
    return compiled, problems
