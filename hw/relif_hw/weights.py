"""The synapse memory: one with two ports, or in a compact core single-port banks, which are larger.

A word of LEARN is written six cycles after it has been read. Banks hold pairs of words in turn, so that within a
row a read never meets a write in one bank; `issue` keeps rows apart.
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART
from .config import CoreConfig

__all__ = ["BANKS", "WeightMemory"]

BANKS = 2
_BIT = 1
"""The bit of an address that tells them apart: it differs in words read and written six cycles later."""


class WeightMemory(wiring.Component):
    """Words of P weights.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    read_address : In(16), read_enable : In(1), read_data : Out
        Data are there one cycle later, until the next read.
    write_address : In(16), write_enable : In(1), write_data : In
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self.width = config.lanes * config.weight_bits
        super().__init__({
            "read_address": In(16), "read_enable": In(1), "read_data": Out(self.width),
            "write_address": In(16), "write_enable": In(1), "write_data": In(self.width),
        })

    def elaborate(self, platform):
        m = Module()
        if self.config.compact:
            self._banks(m)
            return m
        # A memory a lane: as one, synthesis would take blocks of odd widths, and choose between words for all lanes.
        bits = self.config.weight_bits
        for lane in range(self.config.lanes):
            m.submodules[f"memory_{lane}"] = memory = Memory(
                shape=bits, depth=self.config.weight_words, init=[], attrs=APART)
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                read.en.eq(self.read_enable), read.addr.eq(self.read_address),
                self.read_data.word_select(lane, bits).eq(read.data),
                write.en.eq(self.write_enable), write.addr.eq(self.write_address),
                write.data.eq(self.write_data.word_select(lane, bits)),
            ]
        return m

    def _banks(self, m):
        def bank_of(address):
            return address[_BIT]

        def within(address):
            return Cat(address[:_BIT], address[_BIT + 1:])

        selected = Signal()
        data = []
        for number in range(BANKS):
            bank = Memory(shape=self.width, depth=-(-self.config.weight_words // (BANKS << _BIT)) << _BIT, init=[])
            m.submodules[f"bank_{number}"] = bank
            read, write = bank.read_port(), bank.write_port()
            address = Signal.like(read.addr, name=f"address_{number}")
            writing = self.write_enable & (bank_of(self.write_address) == number)
            m.d.comb += [
                read.en.eq(self.read_enable & (bank_of(self.read_address) == number) & ~writing), write.en.eq(writing),
                address.eq(Mux(writing, within(self.write_address), within(self.read_address))),
                read.addr.eq(address), write.addr.eq(address), write.data.eq(self.write_data),
            ]
            data.append(read.data)
        with m.If(self.read_enable):
            m.d.sync += selected.eq(bank_of(self.read_address))
        m.d.comb += self.read_data.eq(Array(data)[selected])
