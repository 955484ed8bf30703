"""The description of a network: what it takes, what it refuses and in which words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from relif.errors import NetworkError
from relif.network import Network, decay
from relif.rules import EProp, Surrogate, feedback_matrix, feedback_seed


def example(seed: int = 0) -> Network:
    """Two inputs, two hidden populations, recurrent and skip connections, two readouts."""
    network = Network(dt=1e-3, seed=seed)
    x, c = network.input(5, name="x"), network.input(3, name="c")
    h = network.lif(7, tau_mem=10e-3, tau_syn=5e-3, name="h")
    g = network.lif(4, tau_mem=math.inf, reset="zero", threshold=0.5, name="g",
                    surrogate=Surrogate(kind="boxcar", width=0.5, height=0.3))
    y, z = network.readout(2, tau_mem=20e-3, name="y"), network.readout(3, tau_mem=None, name="z")
    for pre, post in ((x, h), (h, h), (h, g), (c, g), (h, y), (g, y)):
        network.connect(pre, post)
    network.connect(x, z, plastic=False, weights=np.linspace(-1, 1, 15).reshape(5, 3))
    network.learn(EProp(), readout=y)
    return network


def test_decays() -> None:
    assert decay(1e-3, 1e-3) == math.exp(-1)
    assert decay(1e-3, None) == 0.0
    assert decay(1e-3, math.inf) == 1.0


def test_description_survives_json_and_has_a_stable_digest() -> None:
    # The description goes through JSON and comes back as the same network…
    network = example()
    again = Network.from_dict(json.loads(json.dumps(network.to_dict())))
    assert again.to_dict() == network.to_dict()
    assert again.digest == network.digest
    for name, projection in network.projections.items():
        assert (again.initial_weights(again.projections[name]) == network.initial_weights(projection)).all()
    # … and any change of it is another digest.
    assert example(seed=1).digest != network.digest


def test_weights_follow_from_the_seed() -> None:
    one, same, other = example(3), example(3), example(4)
    for name in ("x->h", "h->y"):
        first = one.initial_weights(one.projections[name])
        assert (first == same.initial_weights(same.projections[name])).all()
        assert (first != other.initial_weights(other.projections[name])).any()
        assert np.abs(first).max() <= 1.0
    given = one.projections["x->z"]
    assert (one.initial_weights(given) == np.linspace(-1, 1, 15).reshape(5, 3)).all()


def test_feedback_is_a_function_of_its_seed() -> None:
    matrix = feedback_matrix(feedback_seed(0), 1, 10, 130)
    assert matrix.shape == (10, 130)
    assert (np.abs(matrix) < 1).all() and (matrix * 256 % 2 == 1).all()
    assert abs(matrix.mean()) < 0.06 and 0.54 < matrix.std() < 0.62         # uniform: 0.577
    assert (feedback_matrix(feedback_seed(0), 1, 4, 50) == matrix[:4, :50]).all()
    assert (feedback_matrix(feedback_seed(0), 2, 10, 130) != matrix).any()
    assert (feedback_matrix(feedback_seed(1), 1, 10, 130) != matrix).any()


def test_only_populations_that_learn_get_a_learning_signal() -> None:
    network = example()
    assert [p.name for p in network.learning_populations()] == ["h", "g"]
    frozen = Network()
    x, h, y = frozen.input(2), frozen.lif(3, tau_mem=1e-2), frozen.readout(2, tau_mem=1e-2)
    frozen.connect(x, h, plastic=False)
    frozen.connect(h, y)
    frozen.learn(EProp())
    assert frozen.learning_populations() == []
    assert [p.name for p in frozen.plastic()] == ["lif0->readout0"]


NAN = np.array([[0.0, 1.0], [math.nan, 0.0]])
INFINITE = np.array([[0.0, -math.inf], [0.0, 0.0]])
LARGE = np.array([[0.0, 0.5], [0.0, 1.5]])

REFUSED = {
    "dt": (lambda n: Network(dt=0.0), r"dt must be a number more than 0"),
    "seed": (lambda n: Network(seed=-1), r"seed must be an integer from 0 to 4294967295, not -1"),
    "size": (lambda n: n.input(0, name="p"), r"p: size must be an integer from 1 to 32768, not 0"),
    "tau": (lambda n: n.lif(3, tau_mem=-1.0, name="p"), r"p: tau_mem must be a number more than 0, not -1.0"),
    "tau nan": (lambda n: n.lif(3, tau_mem=math.nan, name="p"), r"tau_mem must be a number more than 0, not nan"),
    "tau_syn": (lambda n: n.lif(3, tau_mem=1.0, tau_syn=math.inf), r"tau_syn must be finite or None"),
    "threshold": (lambda n: n.lif(3, tau_mem=1.0, threshold=0), r"threshold must be a number more than 0 and"),
    "reset": (lambda n: n.lif(3, tau_mem=1.0, reset="no"), r"reset must be 'subtract' or 'zero', not 'no'"),
    "twice": (lambda n: n.input(3, name="x"), r"there is already a population 'x'"),
    "name": (lambda n: n.input(3, name="a->b"), r"the name of a population must be a text without '->'"),
    "from readout": (lambda n: n.connect("y", "h"), r"readout 'y' has no spikes: it cannot be a source"),
    "to input": (lambda n: n.connect("h", "x"), r"it cannot be a target"),
    "unknown": (lambda n: n.connect("q", "h"), r"'q' is no population of this network; there are x, h, y"),
    "two projections": (lambda n: n.connect("h", "y"), r"there is already a projection h->y"),
    "range": (lambda n: n.connect("x", "h", range=0.3), r"projection x->h: range must be a power of two, not 0.3"),
    "shape": (lambda n: n.connect("x", "h", weights=[[1.0]]), r"must have the shape \(2, 2\), not \(1, 1\)"),
    "nan": (lambda n: n.connect("x", "h", weights=NAN), r"projection x->h: weight \[1, 0\] is nan"),
    "infinite": (lambda n: n.connect("x", "h", weights=INFINITE), r"weight \[0, 1\] is -inf; it must be a number"),
    "large": (lambda n: n.connect("x", "h", weights=LARGE), r"weight \[1, 1\] is 1.5; it must be .* from -1 to 1"),
    "text": (lambda n: n.connect("x", "h", weights="abc"), r"projection x->h: weights are not numbers"),
    "stored": (lambda n: n.connect("x", "h", stored="both"), r"stored must be one of auto, source, target"),
    "no readout": (lambda n: n.learn(EProp(), readout="h"), r"'h' is no readout"),
    "rate": (lambda n: EProp(rate=math.inf), r"rate must be a number at least 0 and at most 1, not inf"),
    "loss": (lambda n: EProp(loss="hinge"), r"loss must be one of softmax, mse, van_rossum, analog, not 'hinge'"),
    "surrogate": (lambda n: Surrogate(kind="step"), r"surrogate must be one of triangle, fast_sigmoid, expon"),
    "height": (lambda n: Surrogate(height=2.5), r"surrogate height must be a number more than 0 and at most 1.99"),
    "reach": (lambda n: Surrogate(kind="exponential", width=8.0), r"a membrane reaches 31: at most 5.17"),
    "hashed": (lambda n: n.connect("x", "h", hashed=True, weights=np.zeros((2, 2))), r"x->h: hashed weights follow"),
    "hashed gain": (lambda n: n.connect("x", "h", hashed=True, gain=20.0), r"x->h: gain must be .* at most 16, not 20"),
    "readout spikes": (lambda n: n.learn(EProp(loss="van_rossum"), "y"), r"'y' is no spiking population"),
    "which spikes": (lambda n: n.learn(EProp(loss="van_rossum")), r"learn\(\) needs the spiking population that has"),
    "local spikes": (lambda n: n.learn(EProp(loss="van_rossum", feedback="local"), "h"), r"local errors are those of"),
    "adaptation": (lambda n: n.lif(3, tau_mem=1.0, adaptation=-0.1), r"adaptation must be .* at least 0 and"),
    "tau_adaptation": (lambda n: n.lif(3, tau_mem=1.0, adaptation=0.1), r"an adaptive threshold needs tau_adaptation"),
    "adapts for ever": (lambda n: n.lif(3, tau_mem=1.0, adaptation=0.1, tau_adaptation=math.inf),
                        r"tau_adaptation must be a number more than 0 and at most 1e\+06, not inf"),
    "eligibility": (lambda n: EProp(eligibility="dense"), r"eligibility must be one of factored, synaptic, not"),
    "tau_eligibility": (lambda n: EProp(tau_eligibility=0), r"tau_eligibility must be a number more than 0"),
    "synaptic layers": (lambda n: EProp(eligibility="synaptic", feedback="layers"),
                        r"'synaptic' cannot learn with feedback 'layers'.*'random', 'symmetric' or 'local'"),
    "synaptic back from spikes": (lambda n: EProp(eligibility="synaptic", feedback="symmetric", loss="van_rossum"),
                                  r"'synaptic' cannot learn with feedback 'symmetric' from a spiking output.*'random'"),
    "activity cost": (lambda n: EProp(activity_cost=2.0), r"activity_cost must be a number at least 0 and at most 1"),
    "activity target": (lambda n: n.learn(EProp(activity_cost=0.1, activity_target=1001)),
                        r"activity_target must be a number at least 0 and at most 1000, not 1001"),
    "activity tau": (lambda n: EProp(activity_tau=0), r"activity_tau must be a number more than 0"),
    "dict": (lambda n: Network.from_dict({"dt": 1e-3}), r"not the description of a network: KeyError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    build, message = REFUSED[case]
    network = Network()
    network.input(2, name="x")
    network.lif(2, tau_mem=1e-2, name="h")
    network.readout(2, tau_mem=1e-2, name="y")
    network.connect("h", "y")
    with pytest.raises(NetworkError, match=message):
        build(network)


def test_local_errors_bring_their_readouts() -> None:
    network = example()
    network.learn(EProp(feedback="local", local_gain=0.5), network.output)
    assert [p.name for p in network.error_populations()] == ["y", "h.local", "g.local"]
    local = network.populations["h.local"]
    assert (local.kind, local.size, local.tau_mem) == ("readout", network.output.size, network.output.tau_mem)
    projection = network.projections["h->h.local"]
    weights = network.initial_weights(projection)
    assert weights.shape == (projection.pre.size, local.size)
    assert np.abs(weights).max() < 0.5 * math.sqrt(3 / projection.pre.size)
    # The same weights lead back; and learning a second time, or from the description, adds nothing.
    (part,) = network.feedback(projection.pre)
    assert (part.source, part.gain) == (local, 1.0)
    assert np.array_equal(network.hashed_matrix(projection.pre, local, part.stream).T * projection.gain, weights)
    names = list(network.populations)
    network.learn(network.rule, network.output)
    assert list(network.populations) == names
    assert Network.from_dict(network.to_dict()).digest == network.digest


def test_layers_pass_their_post_factors_on() -> None:
    network = Network()
    x, h, g, y = (network.input(2, name="x"), network.lif(3, tau_mem=1e-2, name="h"),
                  network.lif(12, tau_mem=1e-2, name="g"), network.readout(2, tau_mem=1e-2, name="y"))
    for pre, post in ((x, h), (h, g), (g, h), (g, y), (h, y), (h, h)):
        network.connect(pre, post)
    network.learn(EProp(feedback="layers", feedback_gain=0.5))
    # From the readout, and from populations further on only: g -> h leads back.
    assert [(part.source.name, part.gain) for part in network.feedback(h)] == [("y", 0.5), ("g", 0.5)]
    assert [(part.source.name, part.gain) for part in network.feedback(g)] == [("y", 0.5)]
    assert len({part.stream for p in (h, g) for part in network.feedback(p)}) == 3
    alone = network.lif(2, tau_mem=1e-2, name="alone")
    network.connect(x, alone)
    with pytest.raises(NetworkError, match=r"x->alone cannot learn layer by layer: 'alone' projects neither to 'y'"):
        network.learn(EProp(feedback="layers"))


def test_a_spiking_output_gets_targets_and_an_error() -> None:
    network = Network()
    x, h, o = network.input(2, name="x"), network.lif(3, tau_mem=1e-2, name="h"), network.lif(4, tau_mem=1e-2, name="o")
    network.connect(x, h)
    network.connect(h, o)
    network.learn(EProp(loss="van_rossum", tau_rise=2e-3, tau_decay=8e-3), o)
    assert network.populations["o.target"].kind == "input"
    error = network.populations["o.error"]
    assert (network.error_source, error.tau_mem, error.tau_syn) == (error, 8e-3, 2e-3)
    assert np.array_equal(network.initial_weights(network.projections["o->o.error"]), np.eye(4) / 4)
    assert np.array_equal(network.initial_weights(network.projections["o.target->o.error"]), -np.eye(4) / 4)
    assert [p.name for p in network.plastic()] == ["x->h", "h->o"]
    assert Network.from_dict(network.to_dict()).digest == network.digest


def test_refuses_learning_without_a_signal() -> None:
    network = Network()
    x, h, g = network.input(2, name="x"), network.lif(2, tau_mem=1.0, name="h"), network.lif(2, tau_mem=1.0)
    y = network.readout(2, tau_mem=1.0, name="y")
    network.connect(x, h)
    network.connect(h, g, plastic=False)
    network.connect(g, y)
    with pytest.raises(NetworkError, match="'h' has no projection to 'y'"):
        network.learn(EProp(feedback="symmetric"))
    network.learn(EProp(feedback="random"))
    z = network.readout(2, tau_mem=1.0, name="z")
    network.connect(h, z)
    with pytest.raises(NetworkError, match="h->z cannot learn: the error is that of 'y'"):
        network.require_learnable()
    with pytest.raises(NetworkError, match="learn\\(\\) needs the readout that has the error: there are 2"):
        network.learn(EProp())


def test_eligibility_leaks_as_the_readout_or_as_the_threshold() -> None:
    network = Network(dt=2e-3)
    x = network.input(2, name="x")
    h = network.lif(3, tau_mem=1e-2, name="h")
    a = network.lif(3, tau_mem=1e-2, adaptation=0.2, tau_adaptation=0.5, name="a")
    y = network.readout(2, tau_mem=3e-2, name="y")
    to_h, to_a, out = network.connect(x, h), network.connect(x, a), network.connect(h, y)
    fixed = network.connect(h, a, plastic=False)
    network.connect(a, y)
    assert (h.adaptive, a.adaptive) == (False, True)
    with pytest.raises(NetworkError, match=r"x->a cannot learn: the adaptive thresholds of 'a' need "
                                           r"eligibility='synaptic'"):
        network.learn(EProp())
    network.learn(EProp(eligibility="synaptic"))
    assert [network.synaptic(p) for p in (to_h, to_a, out, fixed)] == [True, True, False, False]
    assert network.eligibility_decay(to_h) == math.exp(-2 / 30)
    assert network.eligibility_decay(to_a) == math.exp(-2 / 500)
    network.learn(EProp(eligibility="synaptic", tau_eligibility=0.1))
    assert network.eligibility_decay(to_h) == math.exp(-2 / 100)


def test_eligibility_needs_a_leak() -> None:
    network = Network()
    x, h = network.input(2, name="x"), network.lif(3, tau_mem=1e-2, name="h")
    y = network.readout(2, tau_mem=math.inf, name="y")
    network.connect(x, h)
    network.connect(h, y, plastic=False)
    with pytest.raises(NetworkError, match="needs a finite tau_eligibility: 'y', whose leak it would take, has none"):
        network.learn(EProp(eligibility="synaptic"))
    network.learn(EProp(eligibility="synaptic", tau_eligibility=0.1))
    # A spiking output's errors leak as its kernel decays.
    network.learn(EProp(eligibility="synaptic", loss="van_rossum", tau_decay=20e-3), h)
    assert network.eligibility_decay(network.projections["x->h"]) == math.exp(-1 / 20)


def test_descriptions_older_than_a_setting_stay_the_same() -> None:
    network = example()
    table = network.to_dict()
    assert not set(table["rule"]) & {"eligibility", "tau_eligibility", "activity_cost", "activity_target"}
    assert not any("adaptation" in p or "tau_adaptation" in p for p in table["populations"])
    assert network.digest == "bbbb8e9cd598beec698e9fd5ad61a29fe42152efc5b68e27b3cf6f0433593491"
    # What is set is kept.
    network.lif(2, tau_mem=1.0, adaptation=0.5, tau_adaptation=0.25, name="a")
    network.learn(EProp(eligibility="synaptic", activity_cost=0.5, activity_target=20.0, loss="analog"), "y")
    again = Network.from_dict(json.loads(json.dumps(network.to_dict())))
    assert again.digest == network.digest
    assert (again.populations, again.rule) == (network.populations, network.rule)
