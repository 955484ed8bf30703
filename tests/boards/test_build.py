"""Bitstreams: plans, the cache, reports, refusals; and one made for real."""

from __future__ import annotations

import binascii
import json
import re
import struct

import pytest

from relif.cli import main
from relif.errors import ToolError
from relif.rate_targets import BuiltCore, clock_outcomes
from relif_boards import build as building
from relif_boards.build import add_dfu_suffix, build, plan_build, program
from relif_boards.built import built
from relif_boards.catalog import BOARDS, find_board
from relif_boards.report import read_report
from relif_hw.config import PRESETS, CoreConfig

SMALL = CoreConfig(name="small", lanes=4, weight_words=256, state_words=64, neuron_words=16, program_length=32,
                   queue_depth=64, max_outputs=16)

COMPACT = CoreConfig(name="compact", lanes=1, weight_words=4096, state_words=256, neuron_words=64, program_length=32,
                     queue_depth=64, max_outputs=16, state_bits=16)


def nextpnr_report(reached: float, domains: dict[str, float]) -> str:
    """A report as nextpnr writes it, of a design whose clocks reach as much."""
    def end(cell):
        return {"cell": cell, "loc": [1, 2], "port": "Q"}
    start, finish = (f"device.core.{name}_TRELLIS_FF_Q" for name in ("lanes.c2_a_3", "scaler.m3_shifted"))
    path = [{"delay": 1.0, "from": end(start), "to": end("x"), "type": "clk-to-q"},
            {"delay": 3.0, "from": end("x"), "to": end("x"), "type": "routing"},
            {"delay": 0.0, "from": end("x"), "to": end(finish), "type": "setup"}]
    # A net may be called as any of its wires.
    known = {"sync": "$glbnet$clocks.clk", "usb": "$glbnet$device.port.usb_clk"}
    nets = {known.get(name, "$glbnet$clocks.reset.async_ff_clk"): hz / 1e6 for name, hz in domains.items()}
    return json.dumps({
        "critical_paths": [{"from": f"posedge {net}", "to": f"posedge {net}", "path": path} for net in nets],
        "fmax": {net: {"achieved": reached, "constraint": wanted} for net, wanted in nets.items()},
        "utilization": {"TRELLIS_COMB": {"available": 83640, "used": 100}, "DCCA": {"available": 56, "used": 1}}})


class Tools(list):
    """The calls, and what place and route says."""

    reached = 90.0
    unrouted = ()
    """Seeds for which the router finds no way."""
    domains = None
    """Clocks and what was asked of them; by default as the board wants."""


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Tools that only write what is expected of them."""
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path / "cache"))
    calls = Tools()
    routed = {"nextpnr-ecp5": "top.config", "nextpnr-ice40": "top.asc", "nextpnr-himbaechel-gowin": "top.pnr"}

    def run(command, folder, progress, what):
        calls.append(what)
        if "nextpnr" in command[0] and int(command[-2]) in calls.unrouted:
            raise building.Unrouted(f"{what}: no way found")
        if "nextpnr" in command[0]:
            (folder / "report.json").write_text(nextpnr_report(
                calls.reached + int(command[-2]), calls.domains or find_board(what.split(":")[0]).domains))
            (folder / "top.tim").write_text("log")
            (folder / routed[command[0]]).write_text(f"seed {command[-2]}")
        if command[0] == "ecppack":
            (folder / "top.bit").write_bytes((folder / "top.config").read_bytes())
        if command[0] == "icepack":
            (folder / "top.bin").write_bytes((folder / "top.asc").read_bytes())
        if command[0] == "gowin_pack":
            (folder / "top.fs").write_bytes((folder / "top.pnr").read_bytes())

    monkeypatch.setattr(building, "_run", run)
    return calls


def made(tmp_path, name="ulx3s", seeds=(1, 3, 2)):
    return build(name, SMALL, folder=tmp_path / "out", seeds=seeds, serial="7", progress=lambda line: None)


def test_synthesis_once_and_the_fastest_seed_is_kept(tools, tmp_path):
    built = made(tmp_path)
    assert tools == ["ulx3s: synthesis", *(f"ulx3s: place and route, seed {n}" for n in (1, 3, 2)), "ulx3s: bitstream"]
    assert built.bitstream.read_text() == "seed 3" and built.best.seed == 3 and not built.cached
    assert built.best.cells == {"LUT": (100, 83640)}
    clock = built.best.clocks[0]
    wanted = find_board("ulx3s").clock_hz / 1e6
    assert (clock.name, clock.reached, clock.wanted, clock.met) == ("sync", 93.0, wanted, True)
    assert clock.path == "core.lanes to core.scaler" and clock.wire == 0.75
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert summary["config"]["lanes"] == 4 and len(summary["seeds"]) == 3 and len(summary["tools"]) == 3


def test_an_ice40_has_its_own_tools(tools, tmp_path):
    built = made(tmp_path, "icebreaker", (1,))
    assert tools == ["icebreaker: synthesis", "icebreaker: place and route, seed 1", "icebreaker: bitstream"]
    assert built.bitstream.name == "top.bin" and built.bitstream.read_text() == "seed 1"


def test_a_gowin_has_its_own_tools(tools, tmp_path):
    built = made(tmp_path, "tangnano20k", (1,))
    assert tools == ["tangnano20k: synthesis", "tangnano20k: place and route, seed 1", "tangnano20k: bitstream"]
    assert built.bitstream.name == "top.fs" and built.bitstream.read_text() == "seed 1"


def test_a_gowin_is_asked_for_both_clocks():
    """Its place and route derives nothing from the PLL, and Amaranth would plan for one that is no more."""
    board = find_board("tangnano20k")
    files = plan_build(board, SMALL, serial="7").files
    clocks = [line for line in files["top.sdc"].splitlines() if line.startswith("create_clock")]
    assert clocks == [f"create_clock -name {name} -period {1e9 / hz} [get_nets clocks.{name}]"
                      for name, hz in (("source", 27e6), ("pll_sync", board.clock_hz))]
    pins = {name: pin for name, pin in re.findall(r'IO_LOC "(.+)__io" (\d+);', files["top.cst"])}
    assert pins == {"clk27_0": "4", "uart_0__rx": "70", "uart_0__tx": "69", "led_0": "15"}
    _, place, pack = json.loads(files["build_top.json"])["commands"]
    assert place[0] == "nextpnr-himbaechel-gowin" and {"family=GW2A-18C", "cst=top.cst", "top.sdc"} < set(place)
    assert pack == ["gowin_pack", "-d", "GW2A-18C", "-o", "top.fs", "top.pnr"]


def test_the_report_of_a_gowin(tmp_path):
    """The clocks' nets have names of one word, and both may be asked for as much."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps({
        "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [
            {"from": {"cell": "device.core.lanes.c2_a_DFFE_Q_3"}, "to": {"cell": "x"}, "delay": 1, "type": "logic"},
            {"from": {"cell": "x"}, "to": {"cell": "device.core.weights.memory_DPB_DOA"}, "delay": 1,
             "type": "routing"}]}],
        "fmax": {"clk": {"achieved": 41.5, "constraint": 27.00003}, "i": {"achieved": 300, "constraint": 27.00003}},
        "utilization": {"LUT4": {"available": 20736, "used": 9}, "DFF": {"available": 15552, "used": 8},
                        "BSRAM": {"available": 46, "used": 7}, "MULT18X18": {"available": 48, "used": 6},
                        "MULT36X36": {"available": 12, "used": 0}}}))
    report = read_report(path, 3, {"sync": 27e6})
    assert [(clock.name, clock.reached, clock.path, clock.wire) for clock in report.clocks] == [
        ("sync", 41.5, "core.lanes to core.weights", 0.5), ("source", 300, "", 0.0)]
    assert report.cells == {"LUT": (9, 20736), "FF": (8, 15552), "block RAM": (7, 46), "DSP": (6, 48)}


def test_what_was_built_is_not_built_again(tools, tmp_path):
    made(tmp_path)
    tools.clear()
    built = made(tmp_path)
    assert tools == [] and built.cached and built.bitstream.read_text() == "seed 3"
    made(tmp_path, seeds=(4,))
    assert tools[0] == "ulx3s: synthesis"


def test_a_seed_that_is_not_routed_is_replaced(tools, tmp_path):
    tools.unrouted = (3, 4)
    assert [report.seed for report in made(tmp_path).reports] == [1, 2, 5]
    assert [what.split()[-1] for what in tools[1:-1]] == ["1", "3", "2", "4", "5"]
    tools.clear()
    assert [report.seed for report in made(tmp_path).reports] == [1, 2, 5] and tools == []
    tools.unrouted = range(9)
    with pytest.raises(ToolError, match="seed 6: no way found: take other seeds or a smaller core"):
        made(tmp_path, seeds=(3,))
    assert tools[1:] == [f"ulx3s: place and route, seed {n}" for n in (3, 4, 5, 6)]


ROUNDS = "Info:     iter={} wires=440000 overused={} overuse=1200 archfail=NA\n"


@pytest.mark.parametrize(("overused", "diverging"), [
    ([], False), ([28991, 1802, 477, 276, 190, 165, 180, 286, 315], False), ([40, 12, 90, 0], False),
    ([28991, 1802, 477, 276, 190, 165, 180, 286, 315, 609], True),
])
def test_a_router_that_diverges(overused, diverging):
    log = "".join(ROUNDS.format(*each) for each in enumerate(overused, 1))
    assert building.diverges(log + "Info: Critical path report\n") == diverging


def test_a_tool_that_would_not_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setitem(building.TOOLS, "slow", ("time", "sleep"))
    monkeypatch.setattr(building, "WATCH", 0.1)
    (tmp_path / "top.tim").write_text("".join(ROUNDS.format(n, 200 * n) for n in range(1, 9)))
    sleep = ["slow", "600"]
    monkeypatch.setattr(building.sys, "executable", str(sleeper := tmp_path / "sleeper"))
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    with pytest.raises(building.Unrouted, match="more and more wires are wanted twice"):
        building._run([*sleep, "--router", "router2"], tmp_path, lambda line: None, "a step")
    monkeypatch.setattr(building, "LIMIT", 0.2)
    with pytest.raises(building.Unrouted, match="a step has not finished after 0.2 s"):
        building._run(sleep, tmp_path, lambda line: None, "a step")


def test_a_clock_that_is_not_met_leaves_nothing(tools, tmp_path):
    tools.reached = 32.5
    with pytest.raises(ToolError, match=r"ulx3s: clock sync reaches 33.5 MHz with seed 1, below its 48 MHz \(from "
                                        r"core.lanes to core.scaler\): take other seeds or a smaller core"):
        made(tmp_path, seeds=(1, 2))
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache" / "bitstreams").iterdir())


def test_a_clock_without_its_constraint_is_an_error(tools, tmp_path):
    tools.domains = find_board("ecpix5").domains | {"usb": 12e6}
    with pytest.raises(ToolError, match="clock usb must reach 60 MHz, but place and route was asked for 12 MHz"):
        made(tmp_path, "ecpix5")
    tools.domains = {"usb": 60e6}
    with pytest.raises(ToolError, match="clock sync must reach 60 MHz, but place and route was asked for 0 MHz"):
        made(tmp_path, "ecpix5")


def test_a_bitstream_for_a_dfu_bootloader_has_its_suffix(tools, tmp_path):
    built = made(tmp_path, "orangecrab", (1,))
    assert sorted(clock.name for clock in built.best.clocks) == ["sync", "usb", "usb_io"]
    data = built.bitstream.read_bytes()
    assert data[:6] == b"seed 1"
    assert struct.unpack("<HHHH3sB", data[-16:-4]) == (0xFFFF, 0x5AF0, 0x1209, 0x0100, b"UFD", 16)
    assert add_dfu_suffix(b"seed 1", vendor=0x1209, product=0x5AF0) == data
    assert binascii.crc32(data) == 0xFFFF_FFFF ^ 0            # a CRC over itself, both inverted, leaves all ones


@pytest.mark.parametrize("name", BOARDS)
def test_plans_are_functions_of_their_arguments(name):
    board = find_board(name)
    assert board.preset in PRESETS
    small = COMPACT if board.family == "ice40" else SMALL
    first, second = (plan_build(board, small, serial=serial).digest() for serial in ("7", "8"))
    assert (first == second) == (board.link == "uart")      # a UART tells no serial number


@pytest.mark.parametrize(("name", "router"), [("ulx3s", "router1"), ("ecpix5", "router2")])
def test_a_board_says_which_router_it_wants(name, router):
    place = json.loads(plan_build(find_board(name), SMALL, serial="7").files["build_top.json"])["commands"][1]
    assert place[place.index("--router") + 1] == router


def test_unknown_boards_and_missing_bitstreams_are_named(tmp_path):
    with pytest.raises(ToolError, match=r"no board is called 'pynq'; there are icebreaker, tangnano20k, ulx3s, "):
        build("pynq", None, folder=tmp_path, seeds=(1,), serial="1", progress=print)
    with pytest.raises(ToolError, match=r"no bitstream top.bit; make one: relif build --board ulx3s"):
        program("ulx3s", tmp_path)


def test_a_missing_programmer_is_named(tmp_path, monkeypatch):
    (tmp_path / "top.bit").write_bytes(b"bits")
    monkeypatch.setenv("OPENFPGALOADER", "no-such-loader")
    with pytest.raises(ToolError, match="ulx3s: its programmer no-such-loader is not on PATH"):
        program("ulx3s", tmp_path)


def test_the_programmer_gets_the_bitstream(tmp_path, monkeypatch):
    loader = tmp_path / "loader"
    loader.write_text(f'#!/bin/sh\necho "$1 $2 $3" > {tmp_path}/arguments\ncat "$4" >> {tmp_path}/arguments\n')
    loader.chmod(0o755)
    (tmp_path / "top.bit").write_bytes(b"bits")
    monkeypatch.setenv("OPENFPGALOADER", str(loader))
    program("ulx3s", tmp_path)
    assert (tmp_path / "arguments").read_text() == "-b ulx3s -m\nbits"
    loader.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ToolError, match="failed with exit code 3"):
        program("ulx3s", tmp_path)


def test_the_commands_list_and_build(tools, tmp_path, capsys):
    assert main(["boards"]) == 0
    assert "OrangeCrab r0.2 85F" in capsys.readouterr().out
    assert main(["build", "--board", "ecpix5-serial", "--folder", str(tmp_path / "b"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["preset"] == find_board("ecpix5-serial").preset and not result["cached"]
    assert main(["build", "--board", "ecpix5-serial", "--folder", str(tmp_path / "b")]) == 0
    assert "built before" in capsys.readouterr().out


def test_tables_of_what_was_built(tools, tmp_path, capsys):
    for name in ("ecpix5-serial", "icebreaker"):
        build(name, SMALL, folder=tmp_path / "all" / name, seeds=(1, 2), serial="7", progress=print)
    assert main(["boards", "--built", str(tmp_path / "all"), "--output", str(tmp_path / "boards.md")]) == 0
    lines = (tmp_path / "boards.md").read_text().splitlines()
    cores, cells, clocks = (
        [line for line in lines if line.startswith(("| icebreaker", "| ecpix5-serial")) and line.count("|") == columns]
        for columns in (9, 6, 7))
    assert [line.split(" | ")[0] for line in cores] == ["| icebreaker", "| ecpix5-serial"]     # as in the catalog
    assert " | small | 4 | 64 | 1024 | 8 bits | 3 Mbaud | amaranth 0.5" in cores[0]
    assert cells[1] == "| ecpix5-serial | LUT | 100 | 83640 | 0 % |"
    assert clocks[0] == "| icebreaker | sync | 20.25 MHz | 91.00 MHz | 1 | core.lanes to core.scaler |"
    assert len(cells) == 2 and len(clocks) == 4
    capsys.readouterr()
    assert main(["boards", "--built", str(tmp_path)]) == 1
    assert "no board's report.json is there" in capsys.readouterr().err
    assert main(["boards", "--output", "x"]) == 1


def test_what_was_built_is_read_from_its_reports(tools, tmp_path):
    for name, seeds in (("ulx3s-usb", (2, 1)), ("ecpix5", (3,))):
        build(name, SMALL, folder=tmp_path / "all" / name, seeds=seeds, serial="7", progress=print)
    usb, ecpix5 = built(tmp_path / "all")
    assert (usb.board.name, ecpix5.board.name) == ("ulx3s-usb", "ecpix5") and usb.config == SMALL
    # Of several clocks the core's counts: the cells and the path are nextpnr's.
    assert {seed: clock.reached for seed, clock in usb.core_clocks.items()} == {2: 92.0, 1: 91.0}
    core = BuiltCore.of(usb)
    assert (core.board, core.lanes, core.clocks, core.slowest) == ("ulx3s-usb", 4, {2: 92.0, 1: 91.0}, 91.0)
    assert (core.used, core.available, core.path, core.wire) == (100, 83640, "core.lanes to core.scaler", 0.75)
    assert core.tools[0].startswith("amaranth 0.5") and len(core.tools) == 3
    # `relif bench --targets` knows the device by its LUTs.
    assert "64 lanes at 100 MHz" in [outcome.aim for outcome in clock_outcomes([core])]
    with pytest.raises(ToolError, match="no board's report.json is there; make one: relif build --board NAME"):
        built(tmp_path)


@pytest.mark.timeout(1200)
def test_a_bitstream_for_real(tmp_path, monkeypatch):
    """Synthesis, place and route of the iCEBreaker's own core: it meets its clock, and the bitstream is whole."""
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path / "cache"))
    board = find_board("icebreaker")
    built = build(board.name, None, folder=tmp_path / "out", seeds=(1,), serial="7", progress=print)
    assert built.config == PRESETS["lanes1"]
    assert built.best.met and [clock.name for clock in built.best.clocks] == ["sync"]
    assert built.best.clocks[0].wanted >= board.clock_hz / 1e6
    assert read_report(tmp_path / "out" / "seed1.json", 1, board.domains) == built.best
    assert built.best.cells["single-port RAM"] == (2, 4) and built.best.cells["DSP"] == (4, 8)
    assert built.bitstream.read_bytes()[:4] == b"\xff\x00\x00\xff" and built.bitstream.stat().st_size == 104_090
