"""How fast the device's side of USB is: `python -m relif_sim.usb_speed`.

A simulated host issues transactions back to back, as fast as the bus lets it; the figures are in the
bus's own time. What a real host controller and its driver add is not in them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from relif.host.board import LinkBoard
from relif.host.usb import UsbTransport
from relif_hw.config import CoreConfig
from relif_hw.isa import (
    INSTRUCTION_WORDS,
    Flag,
    Instruction,
    Opcode,
    Space,
    TickFlag,
    event_entry,
    tick_entry,
)

from .usb_backend import SimulatedBackend
from .usb_bus import UsbBus, UsbHost

__all__ = ["measure"]

CORE = CoreConfig(lanes=32, weight_words=1024, state_words=64, neuron_words=64, program_length=16, queue_depth=64,
                  max_outputs=16, name="usb32")
"""32 lanes: a word of spikes is an element of the results."""


def _bus_alone(bus: UsbBus, host: UsbHost, seconds: float) -> dict[str, float]:
    """Bytes per second of full packets, of which the device has and takes as many as there can be."""
    bus.mode(1)
    rates = {}
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("out_bytes_per_second", lambda: host.bulk_out_packet(bytes(host.packet))),
        ("in_bytes_per_second", host.bulk_in_packet))
    for name, step in steps:
        for _ in range(4):
            step()
        start, packets = bus.seconds, 0
        while bus.seconds - start < seconds:
            packets += step() not in (None, False)
        rates[name] = packets * host.packet / (bus.seconds - start)
    return rates


def _through_the_link(bus: UsbBus, high_speed: bool) -> dict[str, float]:
    """Events and results per second of a core, by the host's own driver."""
    transport = UsbTransport(backend=SimulatedBackend(bus, high_speed=high_speed))
    with LinkBoard(transport, config=CORE) as board:
        spikes = CORE.words(1024)
        program = [
            # Every neuron spikes at every tick; its spikes are sent as often as the program memory lets it.
            *(Instruction(opcode=Opcode.SEND, flags=Flag.SPIKES, rows=spikes, stream=1, fence=0),) * 8,
            Instruction(opcode=Opcode.END),
        ]
        image = np.zeros((CORE.program_length, INSTRUCTION_WORDS), dtype=np.int64)
        board.write(Space.PROGRAM, 0, image)
        board.results()

        def events(step: int) -> float:
            """Out: events of every `step`-th neuron, in ticks of a core with an empty program."""
            tick = [*map(event_entry, range(0, CORE.neurons, step)), tick_entry(TickFlag(0))]
            start = bus.seconds
            for _ in range(20 * step):
                board.submit(tick)
            board.results()
            return 20 * step * (len(tick) - 1) / (bus.seconds - start)

        scattered, dense = events(16), events(1)

        # In: whole spike vectors, every neuron of which has spiked.
        image[:len(program)] = [instruction.encode() for instruction in program]
        board.write(Space.PROGRAM, 0, image)
        board.write(Space.SPIKES, 0, np.ones((CORE.neuron_words, CORE.lanes), dtype=np.int64))
        board.results()
        start = bus.seconds
        for _ in range(50):
            board.submit([tick_entry(TickFlag(0))])
        results = board.results()
        elapsed = bus.seconds - start
        sent = sum(int(result.values.sum()) for result in results)
        elements = sum(1 + len(result.values) // 32 for result in results)
        start = bus.seconds
        words = board.read(Space.WEIGHTS)
        read = bus.seconds - start
    return {
        "out_events_per_second": scattered,
        "out_dense_events_per_second": dense,
        "in_events_per_second": sent / elapsed,
        "in_result_bytes_per_second": 4 * elements / elapsed,
        "in_weights_bytes_per_second": words.size / read,
        "frames_repeated": board.session.repeated,
    }


def measure(high_speed: bool, *, clock: int, seconds: float) -> dict[str, float]:
    """All rates at one speed.

    Parameters
    ----------
    high_speed : bool
    clock : int
        Of the core, in Hz.
    seconds : float
        Of the bus's time that each rate of the bus alone is taken over.
    """
    bus = UsbBus(None, serial="LOOP-1", high_speed=True, clock=clock)
    host = UsbHost(bus)
    host.enumerate(high_speed=high_speed)
    rates = _bus_alone(bus, host, seconds)
    bus.close()
    bus = UsbBus(CORE, serial="SPEED", high_speed=True, clock=clock)
    rates |= _through_the_link(bus, high_speed)
    bus.close()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", type=float, default=60.0, help="of the core, in MHz; default 60")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rates = {name: measure(name == "high", clock=int(arguments.clock * 1e6), seconds=seconds)
             for name, seconds in (("full", 0.1), ("high", 0.01))}
    if arguments.json:
        print(json.dumps(rates))
        return
    for speed, figures in rates.items():
        for name, value in figures.items():
            print(f"{speed} speed  {name:<28} {value:14,.0f}")


if __name__ == "__main__":
    main()
