"""What a network learns with: surrogate derivatives, and the three-factor rule with its settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from relif_hw.numerics import (
    GROUP_STEP,
    HASH_MASK,
    SURROGATE_BITS,
    SURROGATE_ENTRIES,
    finish,
    lane_feedback,
    mix,
    row_hash,
    tick_key,
)

from .errors import NetworkError

__all__ = ["ELIGIBILITIES", "FEEDBACKS", "LOSSES", "PUBLISHED", "SURROGATES", "EProp", "Published", "Surrogate",
           "feedback_matrix", "feedback_seed", "published", "require_number", "unusual"]


def require_number(where: str, value: Any, low: float, high: float, *, open_low: bool = False) -> float:
    """`value` as a float, if it is a number from `low` to `high`; else a `NetworkError` that names it."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not (low < value if open_low else low <= value) or not value <= high:
        least = "more than" if open_low else "at least"
        upper = "" if high == math.inf else f" and at most {high:g}"
        raise NetworkError(f"{where} must be a number {least} {low:g}{upper}, not {value!r}")
    return float(value)


SURROGATES = ("triangle", "fast_sigmoid", "exponential", "boxcar")
"""Piecewise linear; SuperSpike's; SLAYER's; and a box (Fig. 3)."""

_REACH = {"triangle": 1.0, "boxcar": 1.0, "fast_sigmoid": 6.0, "exponential": 6.0}
"""Where a table ends, in widths. Past it triangle and box are zero, and so, nearly, are the others."""


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The surrogate derivative psi of a spike to its membrane, v = |U - theta| / width from threshold.

    Parameters
    ----------
    kind : str
        `"triangle"`: height max(0, 1 - v). `"fast_sigmoid"`: height / (1 + v)^2.
        `"exponential"`: height exp(-v). `"boxcar"`: height where v < 1.
    width : float
        In the membrane's units, 1/64 to 16.
    height : float
        Value at the threshold, more than 0 and at most 1.99.
    """

    kind: str = "triangle"
    width: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in SURROGATES:
            raise NetworkError(f"surrogate must be one of {', '.join(SURROGATES)}, not {self.kind!r}")
        top = ((1 << SURROGATE_BITS) - 1) / 128
        require_number("surrogate width", self.width, 1 / 64, 16.0)
        require_number("surrogate height", self.height, 0.0, top, open_low=True)
        if self.reach > 31:
            raise NetworkError(f"surrogate {self.kind!r} of width {self.width:g} reaches {self.reach:g} from "
                               f"the threshold; a membrane reaches 31: at most {31 / _REACH[self.kind]:.3g}")

    @property
    def reach(self) -> float:
        """Distance from the threshold at which a table of it ends."""
        return self.width * _REACH[self.kind]

    def derivative(self, distance: Any) -> Any:
        """psi at `distance` = |U - theta| (NumPy array or number), exact."""
        v = np.asarray(distance, dtype=np.float64) / self.width
        if self.kind == "triangle":
            return self.height * np.maximum(0.0, 1.0 - v)
        if self.kind == "fast_sigmoid":
            return self.height / (1.0 + v) ** 2
        if self.kind == "exponential":
            return self.height * np.exp(-v)
        return self.height * (v < 1.0)

    def shift(self, fraction: int) -> int:
        """Binary logarithm of a table step in units of 2^-fraction: the last entry is past the reach."""
        last = SURROGATE_ENTRIES - 1
        return max(0, math.ceil(math.log2(self.reach * 2**fraction / last)))

    def table(self, fraction: int) -> npt.NDArray[np.int64]:
        """The `SURROGATE_ENTRIES` entries of `Space.SURROGATE`: psi in the middle of each step, 128 = 1.0."""
        step = 2.0 ** (self.shift(fraction) - fraction)
        middle = (np.arange(SURROGATE_ENTRIES) + 0.5) * step
        values = np.floor(128 * self.derivative(middle) + 0.5)
        return np.asarray(np.clip(values, 0, (1 << SURROGATE_BITS) - 1), dtype=np.int64)


LOSSES = ("softmax", "mse", "van_rossum", "analog")
FEEDBACKS = ("random", "symmetric", "layers", "local")
ELIGIBILITIES = ("factored", "synaptic")


def unusual(instance: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named fields of a dataclass whose values are not the defaults.

    Descriptions leave the others out: what is older than a field stays the same.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(instance)}
    return {name: getattr(instance, name) for name in names if getattr(instance, name) != defaults[name]}


@dataclass(frozen=True, kw_only=True)
class EProp:
    """The three-factor rule dW_ij = rate L_i psi(U_i) P_j, at every tick that has a target.

    Parameters
    ----------
    feedback : str
        `"random"`: L_i = gain sum_k H_ki e_k, H hashed from the seed, uniform in -1 to 1, from the readout
        to every hidden population that learns (direct feedback alignment, Fig. 5c). `"symmetric"`: W_ki of
        the projection to the readout in the place of H_ki (Fig. 5a). `"layers"`: from the post factors d_k
        of the populations that the neuron projects to, and from the errors of the readout, if it does to
        that (feedback alignment, Fig. 5b); between hidden populations of n neurons with H sqrt(3/n), which
        keeps the size of the signal. `"local"`: every hidden population has a readout of its own, hashed
        and fixed, with an error of its own that comes back through the same weights (eq. 14, DECOLLE).
    loss : str
        `"softmax"` (cross-entropy) or `"mse"` (`target` at the class, zero elsewhere) of a readout; `"analog"`:
        mean square of a readout against values that the host gives, -8 to 8, for each output; or `"van_rossum"`
        of a spiking population against target spike trains (eq. 9; SuperSpike).
    rate : float
        eta, at most 1; every projection may have a factor of its own (`Network.connect`).
    trace : str
        P_j: `"double"` exponential (as I and U of the target), `"single"` (as U) or the `"spike"` itself.
    feedback_gain : float
        Factor of the learning signal.
    dead_zone : float
        Errors smaller than this are zero, and cost nothing. 0 to 1.
    softmax_gain : float
        Softmax of gain U, at most 16.
    target : float
        Value of the readout of the right class, for `"mse"`.
    tau_rise, tau_decay : float
        Seconds: the kernel that smooths the spike trains, for `"van_rossum"`.
    local_gain : float
        The readout of a hidden population of n neurons has the weights local_gain H sqrt(3/n), for `"local"`.
    eligibility : str
        e_ij of projections into spiking populations. `"factored"`: psi_i P_j of the tick. `"synaptic"`: a trace of
        it in every synapse, E_ij[n+1] = kappa E_ij[n] + psi_i P_j, or, into adaptive neurons, the one that knows
        of the threshold (`Network.eligibility_decay`); needs a core with a memory for it.
    tau_eligibility : float or None
        Seconds; kappa = exp(-dt / tau_eligibility). None: as the readout that has the error leaks.
    activity_cost : float
        Firing-rate regularisation: L_i += activity_cost (activity_target - rate of i). 0 to 1.
    activity_target : float
        Spikes a second.
    activity_tau : float
        Seconds over which the rate of a neuron is measured.
    """

    feedback: str = "random"
    loss: str = "softmax"
    rate: float = 2.0**-8
    trace: str = "double"
    feedback_gain: float = 1.0
    dead_zone: float = 0.0
    softmax_gain: float = 1.0
    target: float = 1.0
    tau_rise: float = 5e-3
    tau_decay: float = 10e-3
    local_gain: float = 1.0
    eligibility: str = "factored"
    tau_eligibility: float | None = None
    activity_cost: float = 0.0
    activity_target: float = 10.0
    activity_tau: float = 0.1

    def __post_init__(self) -> None:
        for name, choices in (("feedback", FEEDBACKS), ("loss", LOSSES),
                              ("trace", ("double", "single", "spike")), ("eligibility", ELIGIBILITIES)):
            if getattr(self, name) not in choices:
                raise NetworkError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        require_number("rate", self.rate, 0.0, 1.0)
        require_number("feedback_gain", self.feedback_gain, 0.0, 1024.0, open_low=True)
        require_number("dead_zone", self.dead_zone, 0.0, 1.0)
        require_number("softmax_gain", self.softmax_gain, 0.0, 16.0, open_low=True)
        require_number("target", self.target, -31.0, 31.0)
        for name in ("tau_rise", "tau_decay", "activity_tau"):
            require_number(name, getattr(self, name), 0.0, 1e6, open_low=True)
        require_number("local_gain", self.local_gain, 0.0, 16.0, open_low=True)
        if self.tau_eligibility is not None:
            require_number("tau_eligibility", self.tau_eligibility, 0.0, 1e6, open_low=True)
        require_number("activity_cost", self.activity_cost, 0.0, 1.0)
        require_number("activity_target", self.activity_target, 0.0, 1e6)
        if self.eligibility == "synaptic" and self.feedback == "layers":
            raise NetworkError("eligibility 'synaptic' cannot learn with feedback 'layers', whose post factors would "
                               "carry no surrogate derivative; use feedback 'random', 'symmetric' or 'local'")
        if (self.eligibility, self.feedback, self.loss) == ("synaptic", "symmetric", "van_rossum"):
            raise NetworkError("eligibility 'synaptic' cannot learn with feedback 'symmetric' from a spiking output, "
                               "whose post factors would carry no surrogate derivative; use feedback 'random'")

    def to_dict(self) -> dict[str, Any]:
        """The settings in JSON's types."""
        table = {key: value for key, value in dataclasses.asdict(self).items() if key not in _LATER}
        return {**table, **unusual(self, _LATER)}


_LATER = ("eligibility", "tau_eligibility", "activity_cost", "activity_target", "activity_tau")
"""Fields that the first descriptions do not have."""


@dataclass(frozen=True)
class Published:
    """A published rule as a setting of the three-factor rule."""

    summary: str
    settings: dict[str, Any]
    """Of `EProp`."""
    surrogate: str = "triangle"
    adaptive: bool = False
    """Whether the thresholds of hidden neurons adapt."""


PUBLISHED = {
    "dfa": Published("direct feedback alignment (Nøkland 2016, Fig. 5c): random, to every layer",
                     {"feedback": "random"}),
    "e-prop": Published("e-prop with symmetric feedback (Bellec et al. 2020, Fig. 5a)", {"feedback": "symmetric"}),
    "e-prop-synaptic": Published("e-prop with a trace in every synapse, leaky as the readout (Bellec et al. 2020)",
                                 {"feedback": "symmetric", "eligibility": "synaptic"}),
    "lsnn": Published("e-prop with adaptive thresholds and a trace in every synapse (Bellec et al. 2020)",
                      {"feedback": "symmetric", "eligibility": "synaptic"}, adaptive=True),
    "fa": Published("feedback alignment, layer by layer (Lillicrap et al. 2016, Fig. 5b)", {"feedback": "layers"}),
    "decolle": Published("local errors (Kaiser, Mostafa & Neftci 2020, eq. 14)", {"feedback": "local"}),
    "erbp": Published("eRBP (Neftci et al. 2017): random feedback, raw spikes, a box",
                      {"feedback": "random", "trace": "spike"}, "boxcar"),
}
"""The rules by the names that the command line takes."""


def published(name: str) -> Published:
    """The rule of that name; `NetworkError` names the ones there are."""
    if name not in PUBLISHED:
        raise NetworkError(f"no rule is called {name!r}; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def feedback_seed(seed: int) -> int:
    """Seed of the hashed feedback of a network with that seed."""
    return mix(seed ^ 0xFEED_BACC)


def feedback_matrix(seed: int, stream: int, outputs: int, neurons: int) -> npt.NDArray[np.float64]:
    """H of the hashed feedback, shape (outputs, neurons), -255/256 to 255/256, as the core makes it.

    Parameters
    ----------
    seed : int
        Register `FEEDBACK_SEED`.
    stream : int
        Stream number of the FEEDBACK instruction.
    """
    rows = row_hash(tick_key(seed, 0), stream, np.arange(outputs, dtype=np.int64))
    groups = np.arange(-(-neurons // 4), dtype=np.int64) * GROUP_STEP & HASH_MASK
    words = finish((rows[:, None] + groups) & HASH_MASK)
    lanes = np.stack([lane_feedback(words, lane) for lane in range(4)], -1)
    return lanes.reshape(outputs, -1)[:, :neurons] / 256.0


