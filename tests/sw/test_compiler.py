"""The compiler: programs as the design has them, weights to and from the image, and refusals."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from relif.compiler import Compiled, compile
from relif.errors import CompileError, NetworkError
from relif.model.fixed import FixedCore
from relif.network import Network
from relif.rules import EProp, Surrogate
from relif_hw.config import PRESETS, CoreConfig, preset
from relif_hw.isa import Flag, Instruction, Opcode, Register, Space, TickFlag, event_entry, tick_entry

SMALL = CoreConfig(lanes=4, weight_words=2048, state_words=128, neuron_words=64)
ALL = TickFlag.RESET | TickFlag.TRAIN | TickFlag.TARGET | TickFlag.SEND


def feed_forward(inputs: int = 10, hidden: int = 9, outputs: int = 3, **rule: object) -> Network:
    network = Network(seed=1)
    x = network.input(inputs, name="x")
    h = network.lif(hidden, tau_mem=10e-3, tau_syn=5e-3, name="h")
    y = network.readout(outputs, tau_mem=20e-3, name="y")
    network.connect(x, h)
    network.connect(h, y)
    network.learn(EProp(**{"rate": 2**-6, **rule}))     # type: ignore[arg-type]
    return network


def listing(compiled: Compiled) -> list[str]:
    """The program in words: `|` before instructions that wait, opcode, flags that tell the order, condition."""
    told = {Opcode.INTEGRATE: [Flag.BY_TARGET], Opcode.LEARN: [Flag.BY_TARGET],
            Opcode.STEP: [Flag.BY_TARGET, Flag.UNTARGETED], Opcode.FEEDBACK: [Flag.STREAMED]}
    names = {Flag.BY_TARGET: "BY_TARGET", Flag.UNTARGETED: "UNLESS TARGET"}
    return [("| " if i.fence else "") + i.opcode.name
            + "".join(" STREAMED" if i.opcode is Opcode.FEEDBACK else f" {names[flag]}"
                      for flag in told.get(i.opcode, []) if flag & i.flags)
            + (f" when {i.when.name}" if i.when else "") for i in compiled.program]


def test_program_has_the_order_and_fences_of_the_design() -> None:
    network = feed_forward()
    network.projections.clear()
    network.connect("x", "h", stored="source")
    network.connect("h", "y", stored="target")
    network.connect("h", "h", stored="source")
    network.connect("x", "y", stored="target")
    assert listing(compile(network, SMALL)) == [
        "CLEAR when RESET", "CLEAR when RESET", "| CLEAR when RESET",
        # Rows per target first: their sums come late, and STEP waits for them by itself.
        "INTEGRATE BY_TARGET", "INTEGRATE BY_TARGET", "INTEGRATE", "INTEGRATE",
        # The errors are worked out while the lanes go on.
        "STEP BY_TARGET when TARGET", "| ERROR when TARGET",
        # x for h, h for y, h for h, x for y: the constants of h and y differ.
        "TRACE when TRAIN", "TRACE when TRAIN", "TRACE when TRAIN", "TRACE when TRAIN",
        "CLEAR", "STEP", "STEP BY_TARGET UNLESS TARGET",
        # Rows per target into y need the errors alone, which each LEARN waits for.
        "FEEDBACK STREAMED when TARGET", "LEARN BY_TARGET when TARGET", "LEARN BY_TARGET when TARGET",
        "| POST when TARGET", "| LEARN when TARGET", "LEARN when TARGET",
        "| SEND when SEND", "| END",
    ]


def test_instructions_that_can_only_be_passed_over_together() -> None:
    skips = [(i.opcode.name, i.skip) for i in compile(feed_forward(), SMALL).program if i.skip]
    assert skips == [("CLEAR", 2), ("CLEAR", 1), ("STEP", 1), ("TRACE", 1), ("FEEDBACK", 3), ("POST", 2), ("LEARN", 1)]


def test_a_learn_per_target_between_others_costs_no_fence() -> None:
    network = Network(seed=1)
    x, g = network.input(5, name="x"), network.lif(6, tau_mem=1e-2, name="g")
    y = network.readout(3, tau_mem=20e-3)
    network.connect(x, g, stored="target")
    network.connect(g, g, stored="source")
    network.connect(g, y, stored="target")
    network.learn(EProp())
    assert [step for step in listing(compile(network, SMALL)) if "LEARN" in step] == [
        "LEARN BY_TARGET when TARGET", "| LEARN when TARGET", "| LEARN BY_TARGET when TARGET"]


def test_program_of_local_errors() -> None:
    # Hashed sums come last; every readout has its error.
    network = feed_forward(feedback="local")
    network.learn(network.rule)                 # again: the readouts that this brought are none to choose from
    compiled = compile(network, SMALL)
    assert listing(compiled)[3:] == [
        "INTEGRATE", "INTEGRATE", "INTEGRATE BY_TARGET",
        "STEP when TARGET", "STEP BY_TARGET when TARGET", "| ERROR when TARGET", "| ERROR when TARGET",
        "TRACE when TRAIN", "TRACE when TRAIN", "CLEAR", "STEP", "STEP UNLESS TARGET",
        "STEP BY_TARGET UNLESS TARGET", "FEEDBACK when TARGET", "| POST when TARGET",
        "| LEARN when TARGET", "LEARN when TARGET", "| SEND when SEND", "| END",
    ]
    hashed = compiled.program[5]
    assert hashed.flags == Flag.BY_TARGET | Flag.HASHED
    (feedback,) = [i for i in compiled.program if i.opcode is Opcode.FEEDBACK]
    assert (feedback.stream, feedback.a) == (hashed.stream, hashed.c)
    # The readout of a hidden population takes no synapse memory, and its weights are nobody's to keep.
    assert compiled.layout.weight_words == compile(feed_forward(), SMALL).layout.weight_words
    assert list(compiled.take_weights(compiled.images[Space.WEIGHTS])) == ["x->h", "h->y"]


def test_program_of_feedback_layer_by_layer() -> None:
    # From the last layer to the first: each waits for the post factors of the next.
    network = Network(seed=1)
    hidden = [network.lif(6, tau_mem=1e-2) for _ in range(3)]
    populations = [network.input(5), *hidden, network.readout(3, tau_mem=1e-2)]
    for pre, post in itertools.pairwise(populations):
        network.connect(pre, post)
    network.learn(EProp(feedback="layers"))
    compiled = compile(network, SMALL)
    back = [i for i in compiled.program if i.opcode in (Opcode.FEEDBACK, Opcode.POST)]
    assert [(i.opcode.name, i.fence) for i in back] == [
        ("FEEDBACK", 0), ("POST", 1), ("FEEDBACK", 1), ("POST", 1), ("FEEDBACK", 1), ("POST", 1)]
    assert [Flag.STREAMED in i.flags for i in back if i.opcode is Opcode.FEEDBACK] == [True, False, False]
    bases = [compiled.layout.places[p.name].base for p in populations]
    assert [(i.a, i.c) for i in back if i.opcode is Opcode.FEEDBACK] == [
        (bases[4], bases[3]), (bases[3], bases[2]), (bases[2], bases[1])]


def test_network_that_does_not_learn_has_no_learning_in_its_program() -> None:
    network = feed_forward()
    network.rule = None
    assert listing(compile(network, SMALL, send=["h", "y"])) == [
        "CLEAR when RESET", "CLEAR when RESET", "| CLEAR when RESET",
        "INTEGRATE", "INTEGRATE", "CLEAR", "STEP", "STEP",
        "| SEND when SEND", "SEND when SEND", "| END"]


def test_traces_with_equal_constants_are_shared() -> None:
    network = feed_forward()
    g = network.lif(5, tau_mem=10e-3, tau_syn=5e-3, name="g")       # the constants of h
    network.connect("x", g)
    assert len(compile(network, SMALL).layout.traces) == 2
    network.connect(g, "y")
    assert len(compile(network, SMALL).layout.traces) == 3


def test_random_streams_differ() -> None:
    network = feed_forward()
    network.connect("h", "h")
    random = (Opcode.TRACE, Opcode.STEP, Opcode.POST, Opcode.LEARN)
    streams = [i.stream for i in compile(network, SMALL).program
               if i.opcode in random and not (i.opcode is Opcode.STEP and i.flags & Flag.UNTARGETED)]
    assert len(set(streams)) == len(streams)


@pytest.mark.parametrize("stored", ["source", "target"])
@pytest.mark.parametrize("sizes", [(1, 1), (4, 8), (9, 3), (5, 13)])
def test_weights_go_into_the_image_and_come_back(stored: str, sizes: tuple[int, int]) -> None:
    network = Network()
    x, y = network.input(sizes[0], name="x"), network.readout(sizes[1], tau_mem=1e-2, name="y")
    z = network.readout(3, tau_mem=1e-2, name="z")
    network.connect(x, z)
    network.connect(x, y, stored=stored)
    compiled = compile(network, SMALL)
    image = compiled.images[Space.WEIGHTS]
    before = compiled.take_weights(image)
    drawn = np.random.default_rng(0).integers(-128, 128, sizes)
    # What is put comes back, and nothing else has changed.
    compiled.put_weights(image, "x->y", drawn)
    assert (compiled.take_weights(image)["x->y"] == drawn).all()
    assert (compiled.take_weights(image)["x->z"] == before["x->z"]).all()
    # Lanes past the end of a row hold zero.
    stored_ = compiled.layout.stored["x->y"]
    block = image[stored_.base:stored_.base + stored_.rows * stored_.row_words].reshape(stored_.rows, -1)
    assert (block[:, sizes[0] if stored == "target" else sizes[1]:] == 0).all()


def test_weights_become_integers_of_the_projection() -> None:
    network = Network()
    x, y = network.input(1, name="x"), network.readout(6, tau_mem=1e-2, name="y")
    network.connect(x, y, range=0.5, weights=[[0.5, -0.5, 0.0, 1 / 256, 0.0019, -0.0021]])
    compiled = compile(network, SMALL)
    assert compiled.lsb("x->y") == 2**-8
    integers = compiled.take_weights(compiled.images[Space.WEIGHTS])["x->y"]
    assert integers.tolist() == [[127, -128, 0, 1, 0, -1]]      # the upper end is one step short
    assert compiled.to_floats("x->y", integers)[0, 1] == -0.5
    with pytest.raises(NetworkError, match=r"projection x->y: weight \[0, 2\] is nan"):
        compiled.to_integers("x->y", [[0, 0, math.nan, 0, 0, 0]])
    with pytest.raises(NetworkError, match=r"in integers: weight \[0, 0\] is 200"):
        compiled.put_weights(np.zeros((100, 4), dtype=np.int64), "x->y", np.full((1, 6), 200))


def test_events_and_results_have_their_numbers() -> None:
    network = Network()
    network.input(5, name="a")
    network.readout(2, tau_mem=1e-2, name="y")
    network.input(3, name="b")
    compiled = compile(network, SMALL)
    # Inputs come first, each from a word of its own.
    assert compiled.event_address("a", 4) == 4
    assert compiled.event_address("b", 2) == 10
    assert compiled.population_number("y") == 1
    with pytest.raises(NetworkError, match="input 'b' has neurons 0 to 2, not 3"):
        compiled.event_address("b", 3)
    with pytest.raises(NetworkError, match="'y' is no input: it takes no events"):
        compiled.event_address("y", 0)


@pytest.mark.parametrize("stored", ["source", "target"])
def test_one_spike_arrives_with_its_weight(stored: str) -> None:
    # A spike at tick 0 is in the current after it, and in the membrane after tick 1.
    network = Network()
    x, y = network.input(6, name="x"), network.readout(5, tau_mem=math.inf, name="y")
    weights = np.random.default_rng(0).integers(-128, 128, (6, 5)) / 32
    network.connect(x, y, range=4.0, weights=weights, stored=stored)
    compiled = compile(network, SMALL)
    core = FixedCore(SMALL)
    compiled.load(core)
    core.run(np.array([event_entry(compiled.event_address("x", 3)), tick_entry(TickFlag.RESET)]))
    ((number, kind, values),) = core.run(np.array([tick_entry(TickFlag.SEND)]))
    assert (number, kind) == (1, 0)
    assert (values / 2**SMALL.state_fraction == weights[3]).all()


def test_symmetric_feedback_reads_rows_per_target() -> None:
    compiled = compile(feed_forward(feedback="symmetric"), SMALL)
    assert compiled.layout.stored["h->y"].by_target
    (feedback,) = [i for i in compiled.program if i.opcode is Opcode.FEEDBACK]
    assert feedback.b == compiled.layout.stored["h->y"].base
    assert feedback.x / 2**feedback.shift == 2 ** (SMALL.mac_shift - 7)


def test_layout_takes_the_cheaper_rows() -> None:
    # 256 to 10 at 128 lanes: 20 words a row per target, 256 per source.
    config = preset("lanes128")
    stored = compile(feed_forward(64, 256, 10), config).layout.stored
    assert stored["h->y"].by_target and stored["h->y"].row_words == 2
    assert not stored["x->h"].by_target and stored["x->h"].row_words == 2
    # Where rows leave most lanes idle, the compiler says so.
    network = feed_forward(64, 256, 10)
    network.projections.clear()
    network.connect("h", "y", stored="source")
    assert compile(network, config).notes == [
        "projection h->y: rows of 10 weights use 8% of the lanes (1 words of 128)"]


def test_learning_rate_changes_without_a_new_program() -> None:
    network = feed_forward(trace="single")
    network.projections.clear()
    network.connect("x", "h", rate=0.5)
    network.connect("h", "y", range=0.25)
    compiled = compile(network, SMALL)
    for rate in (2**-6, 1e-3, 1e-6, 0.0):
        for address, instruction in compiled.rate_instructions(rate).items():
            stored = compiled.learns[address]
            eta = rate * stored.projection.rate
            assert stored.trace is not None
            factor = eta * 2.0 ** (SMALL.update_shift + stored.exponent - SMALL.state_fraction) / stored.trace.one
            # A mantissa of 17 bits, the first of which is one; a shift of 63 at most.
            assert instruction.x / 2**instruction.shift == pytest.approx(factor, rel=2**-16, abs=2**-63)
            assert instruction.opcode is Opcode.LEARN
    core = FixedCore(SMALL)
    compiled.load(core)
    compiled.write_rate(core, 1e-3)
    program = [Instruction.decode(words) for words in core.read(Space.PROGRAM).tolist()]
    assert {a: program[a] for a in compiled.learns} == compiled.rate_instructions(1e-3)
    with pytest.raises(NetworkError, match="rate must be a number"):
        compiled.rate_instructions(math.nan)


def test_traces_use_their_bits() -> None:
    # A neuron that spikes every other tick stays in range, and uses the upper half of it.
    for tau_syn, tau_mem, trace in ((5e-3, 10e-3, "double"), (None, 2.0, "single"), (None, 1e-3, "spike")):
        network = Network()
        x, y = network.input(1, name="x"), network.readout(1, tau_mem=tau_mem, tau_syn=tau_syn, name="y")
        network.connect(x, y)
        network.learn(EProp(trace=trace))
        compiled = compile(network, SMALL)
        core = FixedCore(SMALL)
        compiled.load(core)
        spike, silent = event_entry(0), tick_entry(TickFlag.TRAIN)
        core.run(np.array([spike, silent, silent] * (3000 if trace == "single" else 40) + [spike, silent]))
        largest = core.read(Space.STATE)[compiled.layout.traces[0].state:].max()
        assert 2**14 < largest < 2**17 - 1


REFUSED = {
    "weights": (feed_forward(100, 100, 3), r"the synapse memory has 2048 words of 4, but 2[56]\d\d are needed "
                r"\(\d+ too many\); .*; preset 'lanes8' would hold it"),
    "outputs": (feed_forward(4, 4, 70), r"readout 'y' has 70 neurons, but the core holds 64 outputs \(6 too many\): "
                r"its max_outputs must be 70 or more; no preset would hold it, a configuration of its own may "
                r"\(--config\)"),
    "neurons": (feed_forward(300, 8, 2), r"the neuron memory has 64 words of 4, but 78 are needed"),
    "everything": (feed_forward(20000, 2000, 10), r"no preset would hold it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_does_not_fit(case: str) -> None:
    network, message = REFUSED[case]
    with pytest.raises(CompileError, match=message):
        compile(network, SMALL)


def spiking_only(words: int) -> Network:
    network = Network()
    x, h = network.input(4 * words - 8, name="x"), network.lif(8, tau_mem=1e-2, name="h")
    network.connect(x, h)
    return network


def test_the_fence_of_a_new_sample_writes_spikes_that_nobody_reads() -> None:
    def cleared(network: Network) -> tuple[Compiled, int]:
        compiled = compile(network, SMALL)
        fence, = (i for i in compiled.program if i.opcode == Opcode.CLEAR and i.fence)
        assert fence.when == TickFlag.RESET and fence.flags == Flag.SPIKES and fence.rows == 1
        return compiled, fence.c

    # A word of a readout, which has no spikes, wherever it comes; else one behind all populations.
    network = Network()
    x, y, h = network.input(9), network.readout(5, tau_mem=1e-2), network.lif(9, tau_mem=1e-2)
    network.connect(x, h)
    network.connect(h, y)
    compiled, word = cleared(network)
    assert word == compiled.layout.places[y.name].base
    compiled, word = cleared(spiking_only(63))
    assert word == compiled.layout.neuron_words == 63
    with pytest.raises(CompileError, match="a network without readouts needs one word of the neuron memory more than "
                                           "its populations, which take all 64"):
        compile(spiking_only(64), SMALL)


def test_refuses_sums_that_overflow() -> None:
    network = Network()
    x, y = network.input(300, name="x"), network.readout(2, tau_mem=1e-2, name="y")
    network.connect(x, y, range=8.0)
    network.learn(EProp())
    with pytest.raises(CompileError, match=r"input of population 'y' can reach 2400.1, but accumulators of 24 bits "
                                           r"end at 2048.0"):
        compile(network, preset("lanes32"))
    # The same range is no trouble where the weights are small and stay so.
    frozen = Network()
    x, y = frozen.input(300, name="x"), frozen.readout(2, tau_mem=1e-2, name="y")
    frozen.connect(x, y, range=8.0, weights=np.ones((300, 2)), plastic=False)
    compile(frozen, preset("lanes32"))


def test_refuses_ranges_rates_and_surrogates_that_the_core_has_not() -> None:
    network = Network()
    x, h, g = network.input(2, name="x"), network.lif(2, tau_mem=1.0, name="h"), network.lif(
        2, tau_mem=1.0, name="g", surrogate=Surrogate(kind="boxcar"))
    y = network.readout(2, tau_mem=1.0, name="y")
    for pre, post in ((x, h), (x, g), (h, y), (g, y)):
        network.connect(pre, post)
    network.learn(EProp())
    with pytest.raises(CompileError, match=r"2 different surrogates are needed, but the core has tables for 1"):
        compile(network, SMALL)
    wide = Network()
    wide.connect(wide.input(2, name="x"), wide.readout(2, tau_mem=1.0, name="y"), range=16.0)
    with pytest.raises(CompileError, match=r"x->y has range 16, but with 8-bit weights the core takes 0.00\d+ to 8"):
        compile(wide, SMALL)
    fast = feed_forward(rate=1.0)
    fast.projections.clear()
    fast.connect("x", "h", rate=1e6, range=2**-6)
    with pytest.raises(CompileError, match=r"a learning rate of 1e\+06 is too large for projection x->h"):
        compile(fast, SMALL)


def random_network(random: np.random.Generator) -> Network:
    """A network of random topology, constants and rule."""
    network = Network(seed=int(random.integers(1 << 32)))
    taus = [None, 1e-3, 5e-3, 0.1, 10.0, math.inf]
    inputs = [network.input(int(random.integers(1, 12))) for _ in range(random.integers(1, 3))]
    hidden = [network.lif(int(random.integers(4, 12)), tau_mem=taus[random.integers(6)],
                          tau_syn=taus[random.integers(5)], reset=("subtract", "zero")[random.integers(2)])
              for _ in range(random.integers(1, 4))]
    y = network.readout(int(random.integers(2, 6)), tau_mem=taus[random.integers(6)], name="y")
    for pre in [*inputs, *hidden]:
        for post in [*hidden, y]:
            if random.random() < 0.6 or (post is y and pre in hidden):
                network.connect(pre, post, stored=("auto", "source", "target")[random.integers(3)], gain=2.0)
    network.learn(EProp(feedback=("random", "symmetric")[random.integers(2)],
                        loss=("softmax", "mse")[random.integers(2)], rate=2**-5,
                        trace=("double", "single", "spike")[random.integers(3)]))
    return network


@pytest.mark.parametrize("name", ["lanes4", "lanes8", "lanes32"])
@pytest.mark.parametrize("seed", range(6))
def test_random_networks_run_and_keep_to_their_places(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    network, config = random_network(random), dataclasses.replace(preset(name), program_length=96)
    compiled = compile(network, config)
    core = FixedCore(config)
    compiled.load(core)
    start = compiled.take_weights(core.read(Space.WEIGHTS))
    inputs = [p for p in network.populations.values() if p.kind == "input"]
    for tick in range(30):
        events = [compiled.event_address(p, i) for p in inputs for i in range(p.size) if random.random() < 0.3]
        core.run(np.array([*events, tick_entry(ALL if tick == 0 else ALL & ~TickFlag.RESET, 0)]))
    # Weights have changed, and only where there are some.
    end = core.read(Space.WEIGHTS)
    after = compiled.take_weights(end)
    assert any((after[name] != start[name]).any() for name in after)
    empty = np.zeros_like(end)
    for projection, integers in after.items():
        compiled.put_weights(empty, projection, integers)
    assert (empty == end).all()
    # Nothing is written past the state and the neurons that the layout has.
    assert not core.read(Space.STATE)[compiled.layout.state_words:].any()
    for space in (Space.POST, Space.SPIKES):
        assert not core.read(space)[compiled.layout.neuron_words:].any()
    assert core.read(Space.REGISTERS)[Register.TICK, 0] == 30


def test_every_preset_holds_the_digits() -> None:
    from relif.tasks import digits
    for config in PRESETS.values():
        if config.name != "lanes4":
            compile(digits().network(), config)
