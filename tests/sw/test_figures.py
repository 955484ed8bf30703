"""The redrawn figures: their numbers obey the equations they stand for, and the command writes what it says.

And the page that goes through the paper with them names what is there.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import shlex
from functools import partial
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from relif import figures
from relif.cli import _parser, main
from relif.compiler import compile as compile_network
from relif.errors import DataError
from relif.figures import FIGURES, SHOWN, Gradients, Neuron, TemporalXor
from relif.first_spike import XOR
from relif.methods.bptt import bptt
from relif.methods.forward import accumulate
from relif.methods.rtrl import Rtrl
from relif.methods.spike_time import train_xor
from relif.network import Network
from relif.rules import SURROGATES, EProp, Surrogate
from relif_hw.isa import Space

# Fig. 1.

@pytest.fixture(scope="module")
def neuron() -> Neuron:
    return figures.neuron(0)


def test_neuron_obeys_eq_4_and_5_tick_by_tick(neuron):
    network = figures.neuron_network()
    h = network.populations["h"]
    alpha, beta = (math.exp(-network.dt / tau) for tau in (h.tau_syn, h.tau_mem))
    weights = network.initial_weights(network.projections["x->h"])[:, 0]
    i = u = s = 0.0
    for n, arriving in enumerate(neuron.inputs):
        u, i = beta * u + i - h.threshold * s, alpha * i + weights @ arriving
        s = float(u >= h.threshold)
        # A few hundred roundings of doubles of about one.
        assert (neuron.current[n], neuron.membrane[n]) == pytest.approx((i, u), abs=1e-12)
        assert neuron.spikes[n] == s


def test_neuron_needs_several_inputs_to_spike(neuron):
    sparse = figures.SPARSE
    # One spike at a time is seen as one bump each, well under the threshold…
    assert neuron.inputs[:sparse].sum(1).max() == 1
    bumps = np.diff(np.sign(np.diff(neuron.membrane[:sparse]))) < 0
    assert bumps.sum() == neuron.inputs[:sparse].sum() == 7
    assert 0.3 < neuron.membrane[:sparse].max() < 0.5
    # …and many together take it there, from below each time.
    at = np.flatnonzero(neuron.spikes)
    assert len(at) >= 5
    assert at.min() > sparse
    assert (neuron.membrane[at - 1] < neuron.threshold).all()


def test_neuron_on_the_core_is_fixed_point_and_close(neuron):
    unit = 2.0**-figures.CONFIG.state_fraction
    assert (neuron.core_membrane % unit == 0).all()
    assert (neuron.core_membrane != neuron.membrane).any()
    assert (neuron.core_spikes == (neuron.core_membrane >= neuron.threshold)).all()
    # Until the two first spike in different ticks, they hardly differ; that is long after the first spikes.
    off = np.abs(neuron.core_membrane - neuron.membrane)
    assert off[:neuron.agreed].max() < 0.01
    assert neuron.spikes[:neuron.agreed].sum() >= 5
    assert (neuron.core_spikes == neuron.spikes)[:neuron.agreed].all()


def test_agreed_is_the_first_tick_that_differs(neuron):
    def until(core):
        return Neuron(**{**vars(neuron), "spikes": np.array([0, 1, 0, 1], bool), "core_spikes": np.array(core, bool)})

    assert until([0, 1, 0, 1]).agreed == 4
    assert until([0, 1, 1, 0]).agreed == 2


def test_seeds_differ(neuron):
    other = figures.neuron(1)
    assert (other.inputs[:figures.SPARSE] == neuron.inputs[:figures.SPARSE]).all()
    assert (other.inputs != neuron.inputs).any()
    assert (figures.neuron(0).membrane == neuron.membrane).all()


# Fig. 3.

@pytest.mark.parametrize("kind", SURROGATES)
def test_table_is_the_quantised_derivative_in_the_cores_memory(kind):
    data, fraction = figures.surrogates(), figures.CONFIG.state_fraction
    psi = Surrogate(kind=kind, width=SHOWN[kind])
    # A core that learns with this surrogate has the table in its memory.
    network = Network()
    x, h, y = network.input(4), network.lif(4, tau_mem=5e-3, surrogate=psi), network.readout(2, tau_mem=5e-3)
    network.connect(x, h)
    network.connect(h, y)
    network.learn(EProp())
    memory = compile_network(network, figures.CONFIG).images[Space.SURROGATE][:, 0]
    step = 2.0 ** (psi.shift(fraction) - fraction)
    for membrane, formula, entry in zip(data.membrane, data.formula[kind], data.table[kind], strict=True):
        distance = abs(membrane - data.threshold)
        assert formula == psi.derivative(distance)
        number = min(31, int(distance / step))
        # It is the middle of the step, in units of 1/128, and what the memory holds.
        assert entry == memory[number] / 128
        assert abs(entry - psi.derivative((number + 0.5) * step)) <= 0.5 / 128


def test_surrogates_are_seen_whole():
    data = figures.surrogates()
    assert list(data.formula) == list(data.table) == list(SURROGATES)
    peak = data.membrane == data.threshold
    for kind, values in data.formula.items():
        assert values[peak] == values.max() == 1.0
        assert values[0] < 0.05 and values[-1] < 0.05
        # Tables are coarser than the picture: its steps are seen.
        assert len(set(data.table[kind])) < len(set(values)) or kind == "boxcar"


# Fig. 4.

@pytest.fixture(scope="module")
def learned():
    network, (spikes, loss) = figures.classifier(), figures.samples(0)
    start, weights = figures.learned(network, spikes, loss, 0)
    return network, spikes, loss, start, weights


@pytest.fixture(scope="module")
def gradients() -> Gradients:
    return figures.gradients(0, points=151)


def test_the_surrogate_learns_where_the_actual_gradient_is_zero(learned, gradients):
    network, spikes, loss, start, weights = learned
    assert gradients.loss[-1] < 0.1 < 0.3 < gradients.loss[0]
    # However small the step: the loss does not change at all, in no direction, anywhere on the path…
    hidden = start + torch.linspace(0, 1, 151)[:, None, None] * (weights[figures.HIDDEN] - start)
    here = figures.losses(network, weights, hidden, spikes, loss)
    for index in range(4):
        nudge = 1e-7 * torch.eye(4, dtype=torch.float64)[index].reshape(2, 2)
        assert (figures.losses(network, weights, hidden + nudge, spikes, loss) == here).all()
    # …so that its differences are zero or, where a spike comes or goes within them, huge.
    assert np.mean(gradients.actual == 0) > 0.5
    jumps = gradients.actual > 0
    assert jumps.any()
    assert np.median(gradients.actual[jumps]) > 2 * np.median(gradients.surrogate)
    # The surrogate gradient is nowhere zero, and moves little from point to point.
    assert gradients.surrogate.min() > 0
    assert np.abs(np.diff(gradients.surrogate)).max() < 0.2 * gradients.surrogate.max()
    assert np.abs(np.diff(gradients.actual)).max() > 2 * gradients.surrogate.max()


def test_the_loss_has_plateaus(gradients):
    flat = np.diff(gradients.loss) == 0
    assert np.mean(flat) > 0.5
    assert 5 < (~flat).sum()


@pytest.mark.parametrize("point", [0, 75, 150])
def test_gradients_are_those_of_the_methods(learned, gradients, point):
    network, spikes, loss, start, weights = learned
    part = point / 150
    at = {**weights, figures.HIDDEN: start + part * (weights[figures.HIDDEN] - start)}
    # Here and below pytest's 1e-6 of the value: the same sums of doubles in another order, through many ticks.
    assert gradients.path[point] == pytest.approx(part)
    # Many networks at once have the loss that one has, and the surrogate gradient is also that of RTRL.
    assert gradients.loss[point] == pytest.approx(bptt(network, spikes, loss, weights=at).loss / len(spikes))
    exact = accumulate(Rtrl(network, weights=at), spikes, loss)[figures.HIDDEN] / len(spikes)
    assert gradients.surrogate[point] == pytest.approx(exact.norm().item())


def test_differences_are_over_the_step(learned):
    network, spikes, loss, start, weights = learned
    data = figures.gradients(0, points=11)
    point = int(np.argmax(data.actual > 0))
    hidden = start + data.path[point] * (weights[figures.HIDDEN] - start)
    parts = []
    for row in range(2):
        for column in range(2):
            nudge = torch.zeros((2, 2), dtype=torch.float64)
            nudge[row, column] = data.step
            up, down = (bptt(network, spikes, loss, weights={**weights, figures.HIDDEN: hidden + sign * nudge}).loss
                        for sign in (1, -1))
            parts.append((up - down) / (2 * data.step) / len(spikes))
    # Differences of losses of doubles over a step: what is left of 1e-16 / step is far below pytest's 1e-6.
    assert data.actual[point] == pytest.approx(np.linalg.norm(parts))


# Fig. 7.

@pytest.fixture(scope="module", params=[0, 3])
def xor(request) -> tuple[int, TemporalXor]:
    return request.param, figures.temporal_xor(request.param)


def test_the_right_output_is_first_for_all_patterns(xor):
    _, data = xor
    assert [(*times, first) for times, first in zip(data.inputs, data.wanted, strict=True)] == [
        (*times, first) for times, first in XOR]
    for times in (data.outputs, data.core):
        assert (times.argmin(1) == data.wanted).all()
        assert (np.sort(times, 1)[:, 0] < np.sort(times, 1)[:, 1]).all()


def test_the_times_are_those_of_the_trained_network(xor):
    seed, data = xor
    outputs = train_xor(seed).network(torch.tensor(data.inputs)).detach().numpy()
    # The same doubles by the same sums, one pattern at a time or all at once.
    assert data.outputs == pytest.approx(outputs)
    # The core has them to a few ticks of 1/20: a delay a layer, and 8-bit weights.
    # Whole ticks, divided by 20 and multiplied again.
    assert data.core * 20 == pytest.approx(np.round(data.core * 20))
    first = (np.arange(4), data.wanted)
    assert np.abs(data.core - outputs)[first].max() < 0.25
    assert (data.core != outputs)[first].all()


def test_membranes_reach_the_threshold_at_their_spikes(xor):
    _, data = xor
    for membranes, spikes in ((data.hidden_membrane, data.hidden), (data.output_membrane, data.outputs)):
        for pattern, voltages in enumerate(membranes):
            for neuron, spike in enumerate(spikes[pattern]):
                before = data.time < spike
                assert voltages[before, neuron].max(initial=-1.0) < 1.0
                assert (voltages[~before, neuron][1:] == 0).all()
                if np.isfinite(spike) and spike < data.time[-1]:
                    last = voltages[before, neuron][-1]
                    assert last > 0.85


def test_potential_is_eq_15s_and_waits_for_its_inputs():
    at = np.linspace(0, 3, 31)
    v = figures.potential(np.array([[0.5, math.inf]]), np.array([[2.0], [9.0]]), np.array([[math.inf]]), at)
    assert v.shape == (1, 31, 1)
    # Exponentials of doubles, summed in another order.
    assert v[0, :, 0] == pytest.approx(np.where(at > 0.5, 2 * (1 - np.exp(0.5 - at)), 0.0))


# Drawing, and the command.

def test_pictures_show_the_numbers(neuron, gradients):
    axes = figures.draw_neuron(neuron).axes
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    shown = lines[f"eq. 4 and 5: {neuron.spikes.sum()} spikes"]
    assert (shown.get_ydata() == neuron.membrane).all()
    assert shown.get_xdata()[0] == 1            # entry 0 is the state at tick 1
    left, right = figures.draw_gradients(gradients).axes
    assert (left.get_lines()[0].get_ydata() == gradients.loss).all()
    assert {line.get_label() for line in right.get_lines()} == {"actual (differences)", "surrogate"}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder of its own, and a short path in Fig. 4."""
    entry = FIGURES[4]
    monkeypatch.setitem(FIGURES, 4, figures.Redrawn(entry.title, partial(figures.gradients, points=11), entry.draw))
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    code = main(["figures", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.usefixtures("small")
def test_command_writes_all_figures(capsys):
    code, out, err = run(capsys, "-o", "pictures/of", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["seed"] == 0
    assert [entry["figure"] for entry in result["figures"]] == [1, 3, 4, 7]
    assert [entry["file"] for entry in result["figures"]] == [
        str(Path("pictures/of") / f"fig{number}.png") for number in (1, 3, 4, 7)]
    for entry in result["figures"]:
        picture = matplotlib.image.imread(entry["file"])
        assert picture.shape[1] == 1440                     # 7.2 inches at 200 dots
        assert picture[..., :3].std() > 0.05                # and something is on it
    assert "4 of 4 patterns right" in result["figures"][3]["fact"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_command_writes_one_figure_in_any_format(capsys, kind, start):
    code, out, _ = run(capsys, "--figure", "3", "--format", kind)
    path = Path("runs/figures") / f"fig3.{kind}"
    assert code == 0
    assert out.startswith(f"{path}: surrogate derivatives; ")
    assert path.read_bytes().startswith(start)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--figure", "2"], 1, "relif: no figure '2' is redrawn here; there are 1, 3, 4, 7\n"),
    (["--figure", "1,x"], 1, "relif: no figure 'x' is redrawn here; there are 1, 3, 4, 7\n"),
    (["--figure", ""], 1, "relif: no figure '' is redrawn here; there are 1, 3, 4, 7\n"),
    (["--figure", "3", "-o", "file"], 1, "relif: file: File exists\n"),
    (["--format", "gif"], 2, "argument --format: invalid choice: 'gif'"),
    (["--seed", "-1"], 2, "argument --seed: must be 0 to 4294967295, not -1"),
])
def test_errors_say_what_is_wrong(capsys, arguments, code, message):
    Path("file").write_text("")
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert not Path("runs").exists()


def test_figures_are_chosen_once_each_in_the_order_given():
    assert figures.chosen("7, 1,7") == [7, 1]
    with pytest.raises(DataError, match="no figure '5' is redrawn here; there are 1, 3, 4, 7"):
        figures.chosen("1,5")


# docs/paper.md.

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^    \$ relif (.*)$", PAGE, re.M) + re.findall(r"`relif (.*?)`", PAGE))
def test_commands_of_the_page_are_understood(command):
    options = _parser().parse_args(shlex.split(command))
    if options.command == "figures":
        assert figures.chosen(options.figure)


def test_every_section_has_a_command_or_parts_that_have():
    sections = re.split(r"^## ", PAGE, flags=re.M)[1:7]
    assert [section.partition(".")[0] for section in sections] == ["I", "II", "III", "IV", "V", "VI"]
    for section in sections:
        head, *parts = re.split(r"^### ", section, flags=re.M)
        for part in parts or [head]:
            assert "\n    $ " in part, part.partition("\n")[0]


@pytest.mark.parametrize(("files", "word"), re.findall(r"^    \$ pytest (.*) -k (\w+)$", PAGE, re.M))
def test_tests_of_the_page_are_there(files, word):
    assert all(re.search(rf"def test_\w*{word}", (ROOT / file).read_text(encoding="utf-8")) for file in files.split())


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(relif(?:\.\w+)+)`", PAGE))))
def test_names_of_the_page_are_there(name):
    """A module, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return
