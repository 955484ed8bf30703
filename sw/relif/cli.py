"""The command `relif`: arguments in, one of the `relif.commands` run, an exit code out.

Exit codes: 0 done; 1 an error, said in one line on standard error; 2 arguments that make no sense;
130 ended by Ctrl-C, after saving what was to be saved.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
from collections.abc import Sequence

from relif_hw.config import PRESETS, ConfigError

from .console import Console
from .errors import RelifError
from .version import __version__

__all__ = ["main"]

OK, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130

BOARD_HELP = ("sim (the generated Verilog in a simulated board), model (the golden model), "
              "serial:URL (any pyserial URL or device), usb:// or usb://SERIAL (native USB), tcp://HOST:PORT")
EXIT_CODES = "exit codes: 0 done, 1 an error (one line on standard error), 2 wrong arguments, 130 Ctrl-C"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise argparse.ArgumentTypeError(f"must be 0 to {(1 << 32) - 1}, not {value}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text}")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"must be 0 (any) to 65535, not {value}")
    return value


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(_seed(part) for part in text.split(","))


def _rates(text: str) -> tuple[float, ...]:
    return tuple(_rate(part) for part in text.split(","))


for _parse, _name in ((_positive, "number"), (_sizes, "list of sizes"), (_seed, "seed"), (_rate, "rate"),
                      (_seeds, "list of seeds"), (_rates, "list of rates"), (_port, "port")):
    _parse.__name__ = _name         # argparse says "invalid rate value"


def _core(parser: argparse.ArgumentParser, required: bool = False) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--preset", metavar="NAME", help=f"core configuration: {', '.join(PRESETS)}")
    group.add_argument("--config", metavar="FILE", help="core configuration in a TOML file")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true",
                            help="one JSON object on standard output, nothing else")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-v", "--verbose", dest="verbosity", action="store_const", const=1, default=0,
                       help="a line for every step")
    group.add_argument("-q", "--quiet", dest="verbosity", action="store_const", const=-1,
                       help="nothing but errors, and JSON if asked for")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relif", description="A spiking processor that learns while it runs.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"relif {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
        _COMMANDS[name](sub)
        _output(sub)
        return sub

    command("train", "Train a task's network on a board, from scratch or from a checkpoint.")
    command("eval", "Test accuracy of a checkpoint on a board.")
    command("compare", "Published learning rules on one task, side by side.")
    command("sweep", "Learning rates and seeds of one task, all at once on the golden model.")
    command("generate", "Write the core as Verilog with plain ports.")
    command("info", "What a board or a configuration is: lanes, widths, capacities.")
    command("tasks", "The tasks that there are.")
    command("serve", "Put the simulated board behind a TCP port or a pseudo-terminal.")
    command("bench", "Cycles per tick and lane use of three networks on the simulated board.")
    command("selftest", "Test a board: memories, link, and a training that must end with the golden model's weights.")
    command("boards", "The FPGA boards that there are.")
    command("build", "Make the bitstream of a board (pip install 'relif[boards]').")
    command("program", "Load a bitstream into a board.")
    command("figures", "Figures of the paper, redrawn from this code.")
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="name of a task (relif tasks lists them)")
    parser.add_argument("--board", default="sim", metavar="SPEC",
                        help=f"{BOARD_HELP}, float (the float model, no board); default sim")
    _core(parser)
    parser.add_argument("--seed", type=_seed, metavar="N",
                        help="seed of split, order, weights and rounding (default 0)")
    parser.add_argument("--epochs", type=_positive, metavar="N",
                        help="passes over the samples (default: the task's)")
    parser.add_argument("--hidden", type=_sizes, metavar="N[,N...]",
                        help="neurons of the hidden populations, one after the other (default: the task's)")
    parser.add_argument("--data", metavar="DIR", help="folder with the samples, where the task brings none "
                        "(default: $RELIF_DATA); regression: a text file of waveforms")
    rule = parser.add_argument_group("learning rule (default: the task's)")
    rule.add_argument("--rate", type=_rate, metavar="R", help="learning rate")
    rule.add_argument("--rule", metavar="NAME", help="a published rule: dfa, e-prop, e-prop-synaptic, lsnn, fa, "
                      "decolle or erbp; for temporal-xor spike-time or superspike")
    rule.add_argument("--feedback", choices=("random", "symmetric", "layers", "local"),
                      help="where the learning signal comes through")
    rule.add_argument("--loss", choices=("softmax", "mse"), help="error of the readout")
    rule.add_argument("--eligibility", choices=("factored", "synaptic"),
                      help="factors of the neurons, or a trace in every synapse (needs a synaptic core)")
    rule.add_argument("--tau-eligibility", type=_rate, metavar="SECONDS",
                      help="time constant of these traces (default: the readout's, if it leaks)")
    rule.add_argument("--activity-cost", type=_rate, metavar="C",
                      help="hold firing rates to --activity-target, at this weight (try 1e-3)")
    rule.add_argument("--activity-target", type=_rate, metavar="HZ", help="spikes a second (default 10)")
    parser.add_argument("--in-the-loop", action="store_true",
                        help="the board runs forward; the host computes the gradient (BPTT) from its spikes and writes "
                             "the weights back")
    parser.add_argument("--baselines", action="store_true",
                        help="also a linear classifier, the float model with the same rule, and BPTT, "
                             "on the same split")
    parser.add_argument("--checkpoint", metavar="FILE",
                        help="keep the state of the last finished epoch in FILE")
    parser.add_argument("--resume", metavar="FILE", help="go on from a checkpoint, and keep it up to date")
    parser.add_argument("--report", metavar="DIR", help="pictures and an HTML page")


def _eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="name of the task that the checkpoint is of")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="weights to test")
    parser.add_argument("--data", metavar="DIR", help="folder with the samples (default: $RELIF_DATA)")
    parser.add_argument("--board", default="sim", metavar="SPEC", help=f"{BOARD_HELP}; default sim")
    _core(parser)
    parser.add_argument("--report", metavar="DIR", help="pictures and an HTML page")


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="name of a task (relif tasks lists them)")
    parser.add_argument("--rules", default="dfa,e-prop,e-prop-synaptic,lsnn,fa,decolle,erbp", metavar="NAME[,NAME...]",
                        help="published rules (default: all, %(default)s)")
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2), metavar="N[,N...]", help="default 0,1,2")
    parser.add_argument("--board", default="sim", metavar="SPEC", help=f"{BOARD_HELP}; default sim")
    _core(parser)
    parser.add_argument("--epochs", type=_positive, metavar="N", help="passes over the samples (default: the task's)")
    parser.add_argument("--hidden", type=_sizes, metavar="N[,N...]",
                        help="neurons of the hidden populations, one after the other (default: the task's)")
    parser.add_argument("--data", metavar="DIR", help="folder with the samples (default: $RELIF_DATA)")
    parser.add_argument("-o", "--output", metavar="FILE", help="also write the table as Markdown")
    parser.add_argument("--picture", metavar="FILE", help="draw the accuracies as PNG, SVG or PDF")


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="name of a task (relif tasks lists them)")
    parser.add_argument("--rates", type=_rates, metavar="R[,R...]", help="learning rates (default: the task's)")
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2), metavar="N[,N...]", help="default 0,1,2")
    _core(parser)
    parser.add_argument("--epochs", type=_positive, metavar="N", help="passes over the samples (default: the task's)")
    parser.add_argument("--hidden", type=_sizes, metavar="N[,N...]",
                        help="neurons of the hidden populations, one after the other (default: the task's)")
    parser.add_argument("--rule", metavar="NAME", help="a published rule (default: the task's)")
    parser.add_argument("--data", metavar="DIR", help="folder with the samples (default: $RELIF_DATA)")


def _generate(parser: argparse.ArgumentParser) -> None:
    _core(parser, required=True)
    parser.add_argument("-o", "--output", required=True, metavar="FILE",
                        help="Verilog file; - is standard output")


def _info(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--board", metavar="SPEC", help=BOARD_HELP)
    group.add_argument("--preset", metavar="NAME", help=f"a configuration: {', '.join(PRESETS)}")
    group.add_argument("--config", metavar="FILE", help="a configuration in a TOML file")


def _tasks(parser: argparse.ArgumentParser) -> None:
    pass


def _serve(parser: argparse.ArgumentParser) -> None:
    _core(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--tcp", type=_port, metavar="PORT",
                       help="listen on this port of 127.0.0.1; 0: any free one")
    group.add_argument("--pty", action="store_true", help="make a pseudo-terminal (the default)")


RIVALS = ("numba", "torch", "snntorch")
"""`relif.rivals.RIVALS`, which takes too long to import for an argument."""


def _rivals(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in RIVALS:
            raise argparse.ArgumentTypeError(f"must be some of {', '.join(RIVALS)}, not {name!r}")
    return names


def _bench(parser: argparse.ArgumentParser) -> None:
    _core(parser)
    parser.add_argument("--clock", type=_rate, metavar="HZ",
                        help="of the core in --against (default: that of board ulx3s)")
    parser.add_argument("--repetitions", type=_positive, default=5, metavar="N",
                        help="of each program in --against, of which the median is shown (default 5)")
    parser.add_argument("--ticks", type=_positive, default=64, metavar="N",
                        help="ticks of a measurement (default 64)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N",
                        help="seed of the spikes and weights (default 0)")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--link", action="store_true",
                       help="measure digits training over serial lines instead (lanes1, lanes4, lanes32)")
    other.add_argument("--simulator", action="store_true",
                       help="measure how fast the simulated board trains digits on this machine instead")
    other.add_argument("--against", type=_rivals, metavar="NAME[,NAME...]",
                       help="compare a learning tick with programs on a CPU instead: numba, torch, snntorch "
                            "(pip install 'relif[baselines]')")
    other.add_argument("--targets", action="store_true",
                       help="measure all that is aimed at instead: cycles, lane use, ticks a second (lanes32, lanes64, "
                            "lanes128), and with --built the clocks of boards")
    other.add_argument("--scaling", action="store_true",
                       help="measure cycles against neurons, synapses, activity, lanes (lanes4 to lanes128) and silent "
                            "inputs instead")
    parser.add_argument("--pictures", metavar="DIR", help="draw what --scaling measured into a folder, as SVG")
    parser.add_argument("--built", metavar="DIR",
                        help="also take the clocks of the boards that are built in the folders of a folder (--targets)")
    parser.add_argument("--samples", type=_positive, default=96, metavar="N",
                        help="samples of --link, --simulator and --targets (default 96)")
    parser.add_argument("-o", "--output", metavar="FILE", help="also write the tables as Markdown")


def _selftest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", default="sim", metavar="SPEC", help=f"{BOARD_HELP}; default sim")
    _core(parser)
    parser.add_argument("--kilobytes", type=_positive, default=256, metavar="N",
                        help="how much to send through the link each way (default 256)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of patterns and training (default 0)")


def _boards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--built", metavar="DIR",
                        help="write tables of those built in the folders of a folder, as Markdown")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output)")


def _build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", required=True, metavar="NAME", help="an FPGA board (relif boards lists them)")
    _core(parser)
    parser.add_argument("--seeds", type=_seeds, default=(1,), metavar="N[,N...]",
                        help="of place and route; all must meet all clocks, the fastest is kept (default 1)")
    parser.add_argument("--serial-number", default="1", metavar="S", help="told on USB (default 1)")
    parser.add_argument("--folder", metavar="DIR", help="for bitstream, reports and logs (default build/NAME)")


def _program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", required=True, metavar="NAME", help="an FPGA board (relif boards lists them)")
    parser.add_argument("--folder", metavar="DIR", help="what relif build left (default build/NAME)")


def _figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", default="runs/figures", metavar="DIR",
                        help="folder for the pictures (default runs/figures)")
    parser.add_argument("--figure", default="1,3,4,7", metavar="N[,N...]", help="which ones (default: all, 1,3,4,7)")
    parser.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="of the files (default png)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N",
                        help="seed of spikes and of weights at the start (default 0)")


_COMMANDS = {
    "train": _train, "eval": _eval, "compare": _compare, "sweep": _sweep, "generate": _generate, "info": _info,
    "tasks": _tasks, "serve": _serve, "bench": _bench, "figures": _figures, "selftest": _selftest, "boards": _boards,
    "build": _build, "program": _program,
}
_MODULES = {"eval": "evaluate", "program": "build"}


def _end(console: Console, text: str, code: int) -> int:
    console.error(text)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of the arguments (default: the process's) and return its exit code."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:      # argparse has said what is wrong, or printed the help
        return stop.code if isinstance(stop.code, int) else USAGE
    console = Console(json_output=options.json, verbosity=options.verbosity)
    try:
        # Only now: PyTorch takes a second to import, and --help needs none of it.
        name = _MODULES.get(options.command, options.command)
        importlib.import_module(f".commands.{name}", __package__).run(options, console)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _end(console, "interrupted", INTERRUPTED)
    except (RelifError, ConfigError) as error:
        return _end(console, str(error), ERROR)
    except BrokenPipeError:
        # The reader has left, and so do we: nothing more to standard output at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        where = error.filename or type(error).__name__
        return _end(console, f"{where}: {error.strerror or error}", ERROR)
    return OK

