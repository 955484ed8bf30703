"""The configuration of a core: what is fixed when the gateware is built, and the presets."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PRESETS", "ConfigError", "CoreConfig", "load_config", "preset"]


class ConfigError(ValueError):
    """A core configuration that cannot be built."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """What is fixed when a core is built; everything else is set at run time.

    Parameters
    ----------
    lanes : int
        Lanes P of the array, a power of two from 1 to 128. A memory word holds P elements. With 1 or 2 a core
        is *compact*, see `compact`.
    weight_bits : int
        Bits of a weight, 4 to 16, or to 14 with 16-bit states, two's complement.
    state_bits : int
        Bits of a state (I, U, traces, errors) and of a multiplier operand: 18 (ECP5) or 16 (iCE40).
    accumulator_bits : int
        Bits of an input accumulator, 20 to 32. The compiler refuses a network that could overflow it.
    weight_words, state_words, neuron_words : int
        Depths of the synapse memory, of the state memory, and of the spike, accumulator and
        post-factor memories, in words of P elements.
    program_length : int
        Instructions that the tick program may hold.
    queue_depth : int
        Entries (events and ticks) of the event queue.
    max_outputs : int
        Neurons that an output population may have.
    surrogates : int
        Surrogate tables: populations may differ in surrogate as far as tables last.
    eligibility_words : int
        Depth of the eligibility memory, in words of P elements: a trace of its own for each synapse of the
        first words of the synapse memory. 0 builds a *factored* core; with any it is a *synaptic* one, which
        has adaptive thresholds too.
    name : str
        Name of the preset, for messages only.
    """

    lanes: int = 32
    weight_bits: int = 8
    state_bits: int = 18
    accumulator_bits: int = 24
    weight_words: int = 2048
    state_words: int = 512
    neuron_words: int = 128
    program_length: int = 64
    queue_depth: int = 512
    max_outputs: int = 64
    surrogates: int = 1
    eligibility_words: int = 0
    name: str = "custom"

    def __post_init__(self) -> None:
        def check(field: str, ok: bool, must: str) -> None:
            if not ok:
                raise ConfigError(f"{field} must be {must}, not {getattr(self, field)!r}")

        for field in dataclasses.fields(self):
            if field.name != "name":
                value = getattr(self, field.name)
                check(field.name, isinstance(value, int) and not isinstance(value, bool), "an integer")
        check("lanes", _power_of_two(self.lanes) and self.lanes <= 128, "a power of two from 1 to 128")
        check("state_bits", self.state_bits in (16, 18), "16 or 18")
        widest = min(16, self.state_bits - 2)       # a surrogate derivative must fit an operand, shifted as weights are
        check("weight_bits", 4 <= self.weight_bits <= widest, f"from 4 to {widest} with {self.state_bits}-bit states")
        check("accumulator_bits", 20 <= self.accumulator_bits <= 32, "from 20 to 32")
        check("weight_words", 16 <= self.weight_words <= 1 << 16, "from 16 to 65536")
        check("state_words", 16 <= self.state_words <= 1 << 14, "from 16 to 16384")
        check("neuron_words", 8 <= self.neuron_words <= (1 << 14) // self.lanes,
              f"from 8 to {(1 << 14) // self.lanes} (event addresses have 14 bits)")
        check("program_length", 16 <= self.program_length <= 256, "from 16 to 256")
        check("queue_depth", 16 <= self.queue_depth <= 1 << 14, "from 16 to 16384")
        check("max_outputs", 4 <= self.max_outputs <= 1024, "from 4 to 1024")
        check("surrogates", self.surrogates in (1, 2, 4), "1, 2 or 4")
        check("eligibility_words", self.eligibility_words == 0 or not self.compact, "0 in a core of 1 or 2 lanes")
        most = min(self.weight_words, (1 << 16) - 1)
        check("eligibility_words", self.eligibility_words == 0 or 16 <= self.eligibility_words <= most,
              f"0 (none), or from 16 to {most} (a word for each of the synapse memory at most)")

    # Derived number formats; `docs/numerics.md` explains each.

    @property
    def state_fraction(self) -> int:
        """Fraction bits F of I, U, theta and errors: 1.0 is 2**F, the range is -32 to 32."""
        return self.state_bits - 6

    @property
    def decay_fraction(self) -> int:
        """Fraction bits R of a decay; 1.0 is 2**R and exact."""
        return self.state_bits - 1

    @property
    def mac_shift(self) -> int:
        """Fraction bits MS of the product in INTEGRATE and FEEDBACK."""
        return max(8, self.weight_bits)

    @property
    def update_shift(self) -> int:
        """Fraction bits K of the product in LEARN."""
        return (30 if self.state_bits == 18 else 26) - self.weight_bits

    @property
    def weight_shift(self) -> int:
        """Fraction bits that a weight has while it learns, so that as many bits of an update are cut off as of a
        decay; the lanes' results hold it with them."""
        return 0 if self.compact else max(0, self.update_shift - self.decay_fraction)

    @property
    def synaptic(self) -> bool:
        """Whether the core keeps eligibility traces of single synapses."""
        return self.eligibility_words > 0

    @property
    def compact(self) -> bool:
        """Whether the core is built for few logic cells rather than for cycles.

        Such a core has one instruction on its way at a time, fetches it and scales its rows serially, and
        keeps its weights in single-port memories. What it computes is the same bit for bit.
        """
        return self.lanes <= 2

    @property
    def contexts(self) -> int:
        """Instructions that may be on their way at once."""
        return 1 if self.compact else 8

    @property
    def context_bits(self) -> int:
        """Bits of the number of one of those."""
        return max(1, (self.contexts - 1).bit_length())

    @property
    def groups(self) -> int:
        """Groups of four neurons, which share one hash, in a word (or part of one)."""
        return max(1, self.lanes // 4)

    @property
    def group_words(self) -> int:
        """Words that share one hash."""
        return max(1, 4 // self.lanes)

    @property
    def weight_address_bits(self) -> int:
        """Bits of an address in the synapse memory."""
        return (max(self.weight_words, self.eligibility_words) - 1).bit_length()

    @property
    def state_address_bits(self) -> int:
        """Bits of an address in the state memory, or in the eligibility memory, which CLEAR addresses likewise."""
        return (max(self.state_words, self.eligibility_words) - 1).bit_length()

    @property
    def neuron_address_bits(self) -> int:
        """Bits of an address in the spike, accumulator and post-factor memories."""
        return (self.neuron_words - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Bits of the number of a row: of a neuron within its population."""
        return (self.neurons - 1).bit_length()

    @property
    def neurons(self) -> int:
        """Neurons of all populations together, if every one fills its words."""
        return self.neuron_words * self.lanes

    @property
    def synapses(self) -> int:
        """Synapses of all projections together, if every row fills its words."""
        return self.weight_words * self.lanes

    def words(self, count: int) -> int:
        """Words of P elements that hold `count` elements."""
        return math.ceil(count / self.lanes)


def _presets() -> dict[str, CoreConfig]:
    table = [
        CoreConfig(name="lanes1", lanes=1, state_bits=16, weight_words=65536, state_words=2048,
                   neuron_words=512, program_length=48, queue_depth=256, max_outputs=32),
        CoreConfig(name="lanes2", lanes=2, state_bits=16, weight_words=65536, state_words=1024,
                   neuron_words=256, program_length=48, queue_depth=256, max_outputs=32),
        CoreConfig(name="lanes4", lanes=4, state_bits=16, weight_words=1024, state_words=512,
                   neuron_words=256, program_length=32, queue_depth=256, max_outputs=32),
        CoreConfig(name="lanes8", lanes=8, weight_words=4096, state_words=512, neuron_words=128),
        CoreConfig(name="lanes16", lanes=16, weight_words=4096, state_words=512, neuron_words=128),
        CoreConfig(name="lanes32", lanes=32, weight_words=8192, state_words=512, neuron_words=64),
        CoreConfig(name="lanes64", lanes=64, weight_words=4096, state_words=512, neuron_words=64),
        CoreConfig(name="lanes128", lanes=128, weight_words=2048, state_words=256, neuron_words=32),
        CoreConfig(name="synaptic16", lanes=16, weight_words=4096, state_words=512, neuron_words=128,
                   eligibility_words=2048),
        CoreConfig(name="synaptic32", lanes=32, weight_words=4096, state_words=512, neuron_words=64,
                   eligibility_words=2048),
    ]
    return {config.name: config for config in table}


PRESETS = _presets()
"""The named configurations: factored cores, then synaptic ones, each smallest first."""


def preset(name: str) -> CoreConfig:
    """The preset of that name; `ConfigError` names the ones there are."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}") from None


def load_config(path: str | Path) -> CoreConfig:
    """Read a configuration from a TOML file: the fields of `CoreConfig`, and optionally
    `preset = "NAME"`, whose values the other fields override."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    fields = {field.name for field in dataclasses.fields(CoreConfig)}
    base = dataclasses.asdict(preset(table.pop("preset"))) if "preset" in table else {}
    unknown = sorted(set(table) - fields)
    if unknown:
        raise ConfigError(f"{path}: unknown field {unknown[0]!r}; there are {', '.join(sorted(fields))}")
    return CoreConfig(**{**base, "name": path.stem, **table})
