"""The description of a network: populations joined by projections, and what it learns with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import NetworkError
from .rules import EProp, Surrogate, feedback_matrix, feedback_seed, require_number, unusual

__all__ = ["Feedback", "Network", "Population", "Projection", "decay"]

STORED = ("auto", "source", "target")


def decay(dt: float, tau: float | None) -> float:
    """exp(-dt / tau); 0 for None (no filter), 1 for infinity (no leak)."""
    return 0.0 if tau is None else 1.0 if tau == math.inf else math.exp(-dt / tau)


@dataclass(frozen=True, kw_only=True)
class Population:
    """Neurons with the same constants.

    Parameters
    ----------
    name : str
    kind : str
        `"input"` (spikes from the host), `"lif"` or `"readout"` (the same without spikes).
    size : int
    tau_mem, tau_syn : float or None
        Seconds; infinity: no leak; None: the state lasts one tick only.
    threshold : float
    reset : str
        `"subtract"` the threshold, or to `"zero"`.
    surrogate : Surrogate
    adaptation : float
        b, by which a spike raises the neuron's own threshold; 0: a fixed threshold.
    tau_adaptation : float or None
        Seconds in which the threshold falls again: B[n+1] = exp(-dt/tau) B[n] + b S[n].
    """

    name: str
    kind: str
    size: int
    tau_mem: float | None = None
    tau_syn: float | None = None
    threshold: float = 1.0
    reset: str = "subtract"
    surrogate: Surrogate = Surrogate()
    adaptation: float = 0.0
    tau_adaptation: float | None = None

    @property
    def adaptive(self) -> bool:
        """Whether spikes raise the threshold."""
        return self.adaptation > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Synapses from every neuron of `pre` to every neuron of `post`.

    Parameters
    ----------
    pre, post : Population
    weights : array (pre, post) or None
        Weights at the start; None: normal with standard deviation gain / sqrt(pre), from the seed.
    range : float
        The weights are from -range to range (less one step); a power of two.
    gain : float
    plastic : bool
        The projection learns, if the network does.
    rate : float
        Factor of the rule's rate.
    stored : str
        A row of memory per `"source"`, per `"target"`, or whichever is cheaper (`"auto"`).
    hashed : bool
        The weights are gain H, hashed from the seed (`feedback_matrix`), fixed, and take no memory.
    """

    pre: Population
    post: Population
    weights: npt.NDArray[np.float64] | None
    range: float
    gain: float
    plastic: bool
    rate: float
    stored: str
    hashed: bool = False

    @property
    def name(self) -> str:
        """`pre->post`: two populations have at most one projection."""
        return f"{self.pre.name}->{self.post.name}"


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """A part of a hidden population's learning signal: L_i += gain sum_k M_ki d_k.

    Parameters
    ----------
    source : Population
        Whose errors (a readout) or post factors (a hidden population) d_k are.
    gain : float
    stream : int or None
        M is the hashed matrix of that stream number; None: the weights of the projection to `source`, which
        is stored per target then.
    """

    source: Population
    gain: float
    stream: int | None


class Network:
    """Populations and projections, in the order in which they were added.

    Parameters
    ----------
    dt : float
        Seconds of a tick.
    seed : int
        Seed of weights, feedback and rounding, 32 bits.
    """

    def __init__(self, dt: float = 1e-3, seed: int = 0) -> None:
        self.dt = require_number("dt", dt, 0.0, 1e6, open_low=True)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 32:
            raise NetworkError(f"seed must be an integer from 0 to {(1 << 32) - 1}, not {seed!r}")
        self.seed = int(seed)
        self.populations: dict[str, Population] = {}
        self.projections: dict[str, Projection] = {}
        self.rule: EProp | None = None
        self.output: Population | None = None

    # Construction.

    def input(self, n: int, *, name: str | None = None) -> Population:
        """Add a population whose spikes come from the host."""
        return self._add("input", n, name)

    def lif(self, n: int, *, tau_mem: float | None, tau_syn: float | None = None, threshold: float = 1.0,
            reset: str = "subtract", surrogate: Surrogate | None = None, adaptation: float = 0.0,
            tau_adaptation: float | None = None, name: str | None = None) -> Population:
        """Add a hidden population of leaky integrate-and-fire neurons (eq. 4, 5), with adaptive thresholds or not."""
        if reset not in ("subtract", "zero"):
            raise NetworkError(f"reset must be 'subtract' or 'zero', not {reset!r}")
        threshold = require_number("threshold", threshold, 0.0, 16.0, open_low=True)
        adaptation = require_number("adaptation", adaptation, 0.0, 16.0)
        if tau_adaptation is not None:
            tau_adaptation = require_number("tau_adaptation", tau_adaptation, 0.0, 1e6, open_low=True)
        elif adaptation > 0:
            raise NetworkError("an adaptive threshold needs tau_adaptation, the seconds in which it falls again")
        return self._add("lif", n, name, tau_mem=tau_mem, tau_syn=tau_syn, threshold=threshold, reset=reset,
                         surrogate=surrogate or Surrogate(), adaptation=adaptation, tau_adaptation=tau_adaptation)

    def readout(self, n: int, *, tau_mem: float | None, tau_syn: float | None = None,
                name: str | None = None) -> Population:
        """Add a population of leaky integrators without spikes, whose membranes are the output."""
        return self._add("readout", n, name, tau_mem=tau_mem, tau_syn=tau_syn)

    def _add(self, kind: str, n: int, name: str | None, **constants: Any) -> Population:
        if name is None:
            name = f"{kind}{sum(p.kind == kind for p in self.populations.values())}"
        if not isinstance(name, str) or not name or "->" in name:
            raise NetworkError(f"the name of a population must be a text without '->', not {name!r}")
        if name in self.populations:
            raise NetworkError(f"there is already a population {name!r}")
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= 1 << 15:
            raise NetworkError(f"{name}: size must be an integer from 1 to {1 << 15}, not {n!r}")
        for key in ("tau_mem", "tau_syn"):
            tau = constants.get(key)
            if tau is not None:
                constants[key] = require_number(f"{name}: {key}", tau, 0.0, math.inf, open_low=True)
        if constants.get("tau_syn") == math.inf:
            raise NetworkError(f"{name}: tau_syn must be finite or None, not inf: currents would never end")
        self.populations[name] = Population(name=name, kind=kind, size=int(n), **constants)
        return self.populations[name]

    def connect(self, pre: Population | str, post: Population | str, *, weights: npt.ArrayLike | None = None,
                range: float = 1.0, gain: float = 1.0, plastic: bool = True, rate: float = 1.0,
                stored: str = "auto", hashed: bool = False) -> Projection:
        """Add a projection; feed-forward, recurrent or past a layer, each delays by one tick.

        With `hashed` its weights are gain H, H uniform in -1 to 1: they take no memory and do not learn.
        """
        source, target = self._own(pre), self._own(post)
        if source.kind == "readout":
            raise NetworkError(f"readout {source.name!r} has no spikes: it cannot be a source")
        if target.kind == "input":
            raise NetworkError(f"input {target.name!r} gets its spikes from the host: it cannot be a target")
        where = f"projection {source.name}->{target.name}"
        range = require_number(f"{where}: range", range, 2.0**-20, 2.0**20)
        if math.frexp(range)[0] != 0.5:
            raise NetworkError(f"{where}: range must be a power of two, not {range:g}")
        if stored not in STORED:
            raise NetworkError(f"{where}: stored must be one of {', '.join(STORED)}, not {stored!r}")
        if hashed and weights is not None:
            raise NetworkError(f"{where}: hashed weights follow from the seed and cannot be given")
        projection = Projection(
            pre=source, post=target, range=range, plastic=bool(plastic and not hashed), hashed=bool(hashed),
            stored="target" if hashed else stored,
            gain=require_number(f"{where}: gain", gain, 0.0, 16.0 if hashed else 1e6),
            rate=require_number(f"{where}: rate", rate, 0.0, 1e6),
            weights=(None if weights is None else
                     check_weights(where, weights, source.size, target.size, range)))
        if projection.name in self.projections:
            raise NetworkError(f"there is already a {where}")
        self.projections[projection.name] = projection
        return projection

    def _own(self, population: Population | str) -> Population:
        name = population if isinstance(population, str) else population.name
        found = self.populations.get(name)
        if found is None or (not isinstance(population, str) and found is not population):
            raise NetworkError(f"{name!r} is no population of this network; "
                               f"there are {', '.join(self.populations) or 'none'}")
        return found

    def learn(self, rule: EProp, readout: Population | str | None = None) -> None:
        """Let the plastic projections learn from the error of an output.

        Parameters
        ----------
        readout : Population
            A readout (default: the only one); for `"van_rossum"` a spiking population, which gets an input
            population `NAME.target` for its target spikes and a readout `NAME.error`, whose membranes are the
            difference of the two smoothed spike trains, a quarter of it.
        """
        spiking = rule.loss == "van_rossum"
        own = {name(p) for p in self.populations.values() for name in (local_readout, error_readout)}
        readouts = [p for p in self.populations.values() if p.kind == "readout" and p.name not in own]
        if readout is None and (spiking or len(readouts) != 1):
            raise NetworkError("learn() needs the spiking population that has the error" if spiking else
                               f"learn() needs the readout that has the error: there are {len(readouts)}")
        output = readouts[0] if readout is None else self._own(readout)
        if output.kind != ("lif" if spiking else "readout"):
            raise NetworkError(f"{output.name!r} is no {'spiking population' if spiking else 'readout'}: it cannot "
                               f"have the error of loss {rule.loss!r}")
        if spiking and rule.feedback == "local":
            raise NetworkError("local errors are those of classes: loss 'van_rossum' has none")
        self.rule, self.output = rule, output
        if spiking:
            self._spike_error(output)
        if rule.feedback == "local":
            for population in self.learning_populations():
                self._local_readout(population)
        self.require_learnable()

    def _spike_error(self, output: Population) -> None:
        """Give a spiking output its targets and its error: eps * (S - S_target) / 4 (eq. 9)."""
        assert self.rule is not None
        if error_readout(output) in self.populations:
            return
        target = self.input(output.size, name=target_input(output))
        error = self.readout(output.size, tau_mem=self.rule.tau_decay, tau_syn=self.rule.tau_rise,
                             name=error_readout(output))
        quarter = 0.25 * np.eye(output.size)
        self.connect(output, error, weights=quarter, range=0.5, plastic=False, stored="target")
        self.connect(target, error, weights=-quarter, range=0.5, plastic=False, stored="source")

    def _local_readout(self, population: Population) -> None:
        """Give a hidden population a readout of its own, like the output, if it has none."""
        assert self.rule is not None and self.output is not None
        name = local_readout(population)
        if name not in self.populations:
            local = self.readout(self.output.size, tau_mem=self.output.tau_mem, tau_syn=self.output.tau_syn, name=name)
            self.connect(population, local, hashed=True, gain=self.rule.local_gain * math.sqrt(3 / population.size))

    # What follows from the description.

    def require_learnable(self) -> None:
        """`NetworkError` where a plastic projection would get no learning signal."""
        if self.rule is None or self.output is None:
            return
        if self.rule.activity_cost > 0:
            require_number("activity_target", self.rule.activity_target, 0.0, 1 / self.dt)
        for projection in self.plastic():
            post = projection.post
            if self.synaptic(projection):
                self.eligibility_decay(projection)
            elif post.adaptive:
                raise NetworkError(f"projection {projection.name} cannot learn: the adaptive thresholds of "
                                   f"{post.name!r} need eligibility='synaptic'; or use plastic=False")
            if post.kind == "readout" and post not in self.error_populations():
                raise NetworkError(f"projection {projection.name} cannot learn: the error is that of "
                                   f"{self.output.name!r}; connect it with plastic=False")
            if self.rule.feedback == "layers" and post.kind == "lif" and not self.feedback(post):
                raise NetworkError(f"projection {projection.name} cannot learn layer by layer: {post.name!r} "
                                   f"projects neither to {self.output.name!r} nor to a later population that "
                                   f"learns; use feedback='random' or plastic=False")
            if (self.rule.feedback == "symmetric" and post.kind == "lif" and post is not self.output
                    and f"{post.name}->{self.output.name}" not in self.projections):
                raise NetworkError(f"projection {projection.name} cannot learn with symmetric feedback: "
                                   f"{post.name!r} has no projection to {self.output.name!r}; use "
                                   f"feedback='random' or plastic=False")

    def plastic(self) -> list[Projection]:
        """The projections that learn."""
        return [p for p in self.projections.values() if p.plastic] if self.rule else []

    def synaptic(self, projection: Projection) -> bool:
        """Whether a projection keeps an eligibility trace in every synapse."""
        return (self.rule is not None and self.rule.eligibility == "synaptic" and projection.plastic
                and projection.post.kind == "lif")

    @property
    def needs_eligibility_memory(self) -> bool:
        """Whether a core must be a synaptic one to run this: for traces in synapses, or adaptive thresholds."""
        return (any(map(self.synaptic, self.projections.values()))
                or any(p.adaptive for p in self.populations.values()))

    def eligibility_decay(self, projection: Projection) -> float:
        """What is left of the traces in a projection's synapses after a tick.

        kappa, the leak of the readout that has the error; for adaptive neurons rho, that of their thresholds.
        `NetworkError` where kappa would be 1.
        """
        assert self.rule is not None
        if projection.post.adaptive:
            return decay(self.dt, projection.post.tau_adaptation)
        if self.rule.tau_eligibility is not None:
            return decay(self.dt, self.rule.tau_eligibility)
        if self.error_source.tau_mem == math.inf:
            raise NetworkError(f"eligibility 'synaptic' needs a finite tau_eligibility: {self.error_source.name!r}, "
                               f"whose leak it would take, has none")
        return decay(self.dt, self.error_source.tau_mem)

    def learning_populations(self) -> list[Population]:
        """Hidden populations that need a learning signal, in order."""
        targets = {p.post.name for p in self.plastic()}
        return [p for p in self.populations.values() if p.kind == "lif" and p.name in targets]

    def error_populations(self) -> list[Population]:
        """The readouts that have an error: the output, and with local errors those of hidden populations."""
        assert self.rule is not None and self.output is not None
        local = self.learning_populations() if self.rule.feedback == "local" else []
        return [self.error_source, *(self.populations[local_readout(p)] for p in local)]

    @property
    def error_source(self) -> Population:
        """The readout whose error is learned from: the output itself, or that of a spiking output."""
        assert self.output is not None
        return self.populations[error_readout(self.output)] if self.output.kind == "lif" else self.output

    def feedback(self, population: Population) -> list[Feedback]:
        """Where the learning signal of a hidden population comes from."""
        assert self.rule is not None and self.output is not None
        kind, gain, names = self.rule.feedback, self.rule.feedback_gain, list(self.populations)
        if population is self.output:
            return [Feedback(source=self.error_source, gain=gain, stream=None)]
        if kind == "random":
            return [Feedback(source=self.error_source, gain=gain, stream=names.index(population.name))]
        if kind == "symmetric":
            return [Feedback(source=self.output, gain=gain, stream=None)]
        if kind == "local":
            local = self.populations[local_readout(population)]
            return [Feedback(source=local, gain=gain, stream=self.hashed_stream(population, local))]
        later = [p for p in self.learning_populations() if names.index(p.name) > names.index(population.name)]
        return [Feedback(source=p, gain=gain if p is self.output else math.sqrt(3 / p.size),
                         stream=self.hashed_stream(population, p))
                for p in dict.fromkeys([self.output, *later]) if f"{population.name}->{p.name}" in self.projections]

    def hashed_stream(self, pre: Population, post: Population) -> int:
        """Stream number of the hashed matrix between two populations: the place of their projection."""
        return list(self.projections).index(f"{pre.name}->{post.name}")

    def initial_weights(self, projection: Projection) -> npt.NDArray[np.float64]:
        """Weights at the start, (pre, post): as given, or drawn from the seed, within the range."""
        if projection.hashed:
            return projection.gain * self.hashed_matrix(projection.pre, projection.post).T
        if projection.weights is not None:
            return projection.weights.copy()
        index = list(self.projections).index(projection.name)
        random = np.random.default_rng([self.seed, index])
        spread = projection.gain / math.sqrt(projection.pre.size)
        drawn = random.normal(0.0, 1.0, (projection.pre.size, projection.post.size)) * spread
        return np.clip(drawn, -projection.range, projection.range)

    def hashed_matrix(self, pre: Population, post: Population, stream: int | None = None) -> npt.NDArray[np.float64]:
        """H, shape (post, pre), -255/256 to 255/256, of that stream or of the projection between the two."""
        stream = self.hashed_stream(pre, post) if stream is None else stream
        return feedback_matrix(feedback_seed(self.seed), stream, post.size, pre.size)

    def to_dict(self) -> dict[str, Any]:
        """The whole description in JSON's types; infinity is written as the text "inf"."""
        later = ("adaptation", "tau_adaptation")

        def plain(p: Population) -> dict[str, Any]:
            table = {key: value for key, value in dataclasses.asdict(p).items() if key not in later}
            return {key: "inf" if value == math.inf else value for key, value in (table | unusual(p, later)).items()}

        return {
            "dt": self.dt,
            "seed": self.seed,
            "populations": [plain(p) for p in self.populations.values()],
            "projections": [{
                "name": p.name, "pre": p.pre.name, "post": p.post.name, "range": p.range, "gain": p.gain,
                "plastic": p.plastic, "rate": p.rate, "stored": p.stored, "hashed": p.hashed,
                "weights": None if p.weights is None else p.weights.tolist(),
            } for p in self.projections.values()],
            "rule": self.rule.to_dict() if self.rule else None,
            "output": self.output.name if self.output else None,
        }

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Network:
        """The inverse of `to_dict`; `NetworkError` where something is missing or wrong."""
        try:
            network = cls(table["dt"], table["seed"])
            for entry in table["populations"]:
                constants: dict[str, Any] = {
                    key: math.inf if value == "inf" else value for key, value in entry.items()}
                name, kind, size = constants.pop("name"), constants.pop("kind"), constants.pop("size")
                surrogate = Surrogate(**constants.pop("surrogate"))
                if kind == "lif":
                    network.lif(size, name=name, surrogate=surrogate, **constants)
                elif kind == "readout":
                    network.readout(size, name=name, tau_mem=constants["tau_mem"],
                                    tau_syn=constants["tau_syn"])
                elif kind == "input":
                    network.input(size, name=name)
                else:
                    raise NetworkError(f"{name}: kind must be input, lif or readout, not {kind!r}")
            for entry in table["projections"]:
                settings = {key: value for key, value in entry.items() if key not in ("name", "pre", "post")}
                network.connect(entry["pre"], entry["post"], **settings)
            if table["rule"] is not None:
                network.learn(EProp(**table["rule"]), table["output"])
        except (KeyError, TypeError, AttributeError) as error:
            raise NetworkError(f"not the description of a network: {error!r}") from None
        return network

    @property
    def digest(self) -> str:
        """SHA-256 of the description: equal for equal networks, on every machine."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def local_readout(population: Population) -> str:
    """Name of a hidden population's own readout."""
    return f"{population.name}.local"


def error_readout(output: Population) -> str:
    """Name of the readout that has the error of a spiking output."""
    return f"{output.name}.error"


def target_input(output: Population) -> str:
    """Name of the input population that takes the target spikes of a spiking output."""
    return f"{output.name}.target"


def check_weights(where: str, weights: npt.ArrayLike, sources: int, targets: int,
                  limit: float) -> npt.NDArray[np.float64]:
    """Weights as an array (sources, targets); `NetworkError` for a wrong shape, NaN, infinity or a
    value beyond `limit`, naming the synapse and the value."""
    try:
        array = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NetworkError(f"{where}: weights are not numbers: {error}") from None
    if array.shape != (sources, targets):
        raise NetworkError(f"{where}: weights must have the shape {(sources, targets)}, not {array.shape}")
    bad = np.argwhere(~(np.abs(array) <= limit))
    if len(bad):
        i, j = bad[0].tolist()
        raise NetworkError(f"{where}: weight [{i}, {j}] is {array[i, j]:g}; it must be a number from "
                           f"{-limit:g} to {limit:g} ({len(bad)} such weights)")
    return array
