"""The generated Verilog of cores of many shapes in lockstep with the golden model, on two simulators.

The scenarios are those of `cases` (by hand), `random_programs` (tick programs with everything at its
extremes) and `networks` (every rule and loss through the public interface, and a training run).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cases import by_hand
from networks import (
    answers,
    largest_range,
    network_scenario,
    random_network,
    reservoir,
    spiking_last,
    training_run,
)
from random_programs import random_scenario
from relif.compiler import compile
from relif.model.fixed import FixedCore
from relif.rules import PUBLISHED
from relif_hw.config import CoreConfig
from relif_hw.export import generate
from relif_hw.isa import Space, space_shape
from relif_sim.runner import BenchFailure, BenchResult, run_bench
from relif_sim.toolchain import verilator_environment
from scenarios import Lockstep, Scenario

BENCHES = Path(__file__).parent / "benches"


def core(**changes: int | str) -> CoreConfig:
    """A core with small memories, so that reading all of them after every step costs little."""
    sizes = {"weight_words": 256, "state_words": 48, "neuron_words": 12, "program_length": 56, "queue_depth": 16,
             "max_outputs": 16}
    return CoreConfig(**{**sizes, **changes})


CORES = [
    core(name="lanes1", lanes=1, weight_bits=8, surrogates=2, weight_words=1024, state_words=192, neuron_words=64),
    core(name="lanes2", lanes=2, weight_bits=14, state_bits=16, accumulator_bits=28, weight_words=512, state_words=128,
         neuron_words=32),
    core(name="lanes4", lanes=4, state_bits=16, state_words=64, neuron_words=16),
    core(name="lanes8", lanes=8, weight_bits=4, surrogates=2, state_words=64, neuron_words=16),
    core(name="lanes16", lanes=16, weight_bits=16, surrogates=4, accumulator_bits=28, max_outputs=20),
    core(name="lanes32", lanes=32, max_outputs=40),
    core(name="synaptic4", lanes=4, state_words=80, neuron_words=16, eligibility_words=256, surrogates=2),
    core(name="synaptic16", lanes=16, weight_bits=12, state_bits=16, state_words=64, eligibility_words=192),
]
LARGE = [
    core(name="lanes64", lanes=64, weight_bits=12, weight_words=512, surrogates=2, queue_depth=64, max_outputs=64),
    core(name="lanes128", lanes=128, weight_bits=5, state_bits=16, weight_words=1024, max_outputs=64),
]
"""Take minutes to compile: only with `--large`, see `docs/verification.md`."""
TINY = core(name="tiny", lanes=4, weight_bits=5, state_bits=16, weight_words=96, state_words=48, neuron_words=12)


def collisions_spoilt(verilog: str) -> str:
    """The same, but a word read in the cycle that writes it comes wrong from each memory of which the design says
    that no such word matters (`relif_hw.arithmetic.APART`): what hardware gives there is undefined."""
    return "endmodule".join(map(_collisions_spoilt, verilog.split("endmodule")))


def _collisions_spoilt(module: str) -> str:
    for top, memory in re.findall(r"no_rw_check = .*?\n *reg \[(\d+):0\] (\S+) +\[\d+:0\];", module):
        width, word = int(top) + 1, re.escape(memory) + r" *\[(.+?)\]"
        writes = re.findall(rf"if \((.+)\)\n +{word}(?:\[(\d+):(\d+)\])? <= ", module)

        def spoilt(read, memory=memory, width=width, writes=writes):
            register, address = read.groups()
            hits = (f"{{{width}{{({enable}) && ({written}) == ({address})}}}} & "
                    f"{width}'h{(2 << int(high or width - 1)) - (1 << int(low or 0)):x}"
                    for enable, written, high, low in writes)
            return f"{register} <= {memory} [{address}] ^ ({' | '.join(f'({hit})' for hit in hits)});"

        module, reads = re.subn(rf"(\w+) <= {word};", spoilt, module)
        assert writes and reads, f"{memory}: {len(writes)} writes, {reads} reads"
    return module


def run_scenarios(folder: Path, config: CoreConfig, scenarios: list[Scenario], simulator: str = "verilator",
                  **env: str) -> BenchResult:
    """Run scenarios on the Verilog of a core; a second run in the same folder compiles nothing."""
    files = []
    for scenario in scenarios:
        files.append(folder / f"{scenario.name.replace(' ', '_')}.json")
        scenario.save(files[-1])
    verilog = folder / "core.v"
    if not verilog.exists():
        verilog.write_text(collisions_spoilt(generate(config)), encoding="utf-8")
    arguments: list[str] = []
    if simulator == "verilator":
        # Only the ports and the accumulators must be seen from outside; and the C++ compiler takes longer
        # than the simulation, so it need not try hard.
        visible = folder / "visible.vlt"
        visible.write_text('`verilator_config\npublic_flat_rd -module "*lanes" -var "accumulators"\n')
        arguments = ["--no-public-flat-rw", "--public-depth", "1", str(visible)]
        flags = verilator_environment()["MAKEFLAGS"]
        env = {"MAKEFLAGS": f"{flags} OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1", **env}
    elements = max(words * width for words, width, *_ in (space_shape(config, space) for space in Space))
    result = run_bench([BENCHES / "core_harness.v", verilog], "core_harness", BENCHES / "core_bench.py",
                       simulator=simulator, build_dir=folder / "build", parameters={"ELEMENTS": elements},
                       build_args=arguments, env={"SCENARIOS": "\n".join(map(str, files)), **env}, timeout=1740)
    assert len(result.tests) == len(scenarios)
    return result


def scenarios(config: CoreConfig) -> list[Scenario]:
    """By hand, random programs, random networks through the public interface, two more, and a training run; the more
    lanes, the longer it takes to read the memories, and the fewer there are."""
    few = config.lanes > 8
    first = config.lanes                      # other seeds for every core
    sizes = min(20, 2 * config.lanes)
    return [
        *by_hand(config),
        *(random_scenario(config, seed) for seed in range(first, first + (10 if few else 24))),
        *(network_scenario(config, seed, sizes=sizes) for seed in range(first, first + (6 if few else 12))),
        reservoir(config), spiking_last(config),
        *([] if few else [training_run(config)[0]]),
    ]


def pytest_generate_tests(metafunc):
    if metafunc.function is test_verilator:
        cores = CORES + LARGE if metafunc.config.getoption("large") else CORES
        metafunc.parametrize("config", cores, ids=lambda config: config.name)


@pytest.mark.timeout(1800)
def test_verilator(config, tmp_path):
    run_scenarios(tmp_path, config, scenarios(config))


@pytest.mark.timeout(900)
def test_icarus_and_its_bench_notices_one_wrong_weight(tmp_path):
    config = TINY
    some = [*by_hand(config)[:4], *(random_scenario(config, seed, steps=5) for seed in range(4)),
            network_scenario(config, 0, sizes=6)]
    run_scenarios(tmp_path, config, some, "icarus")

    # The same with a golden model that has one weight more than the core.
    message = r"nothing, step 0, WEIGHTS: 1 of 384 elements differ: \[95, 3\] is 0, not 1"
    with pytest.raises(BenchFailure, match=message):
        run_scenarios(tmp_path, config, some[1:2], "icarus", WRONG="1")


@pytest.mark.parametrize("rule", PUBLISHED)
def test_the_training_run_learns(rule):
    synaptic = PUBLISHED[rule].settings.get("eligibility") == "synaptic"
    scenario, _ = training_run(next(core for core in CORES if core.synaptic == synaptic), rule=rule)
    model = Lockstep(scenario).model
    outputs = [sent[2] for step in scenario.steps for sent in model.run(np.array(step.entries))]
    right = [answer == sample % 3 for sample, answer in enumerate(answers(outputs))]
    assert sum(right[:6]) < 6 and all(right[-9:])


@pytest.mark.parametrize("seed", range(12))
def test_results_do_not_depend_on_the_lanes(seed):
    """One network on 1 to 128 lanes: the same results after every tick and the same weights at the end."""
    want = None
    for lanes in (1, 2, 4, 8, 16, 32, 64, 128):
        config = core(lanes=lanes, surrogates=2, weight_words=2048, state_words=512, neuron_words=128)
        scenario = network_scenario(config, seed, steps=12)
        compiled = compile(random_network(seed, 20, min(2.0, largest_range(config)), 2), config)
        model = FixedCore(config)
        for load in scenario.loads:
            model.write(*load)
        got = [values.tolist() for step in scenario.steps for *_, values in model.run(np.array(step.entries))]
        got += [weights.tolist() for weights in compiled.take_weights(model.read(Space.WEIGHTS)).values()]
        want = want or got
        assert got == want, f"{lanes} lanes differ from 1"
