"""Events gathered into words of spikes, while a tick runs: the next one waits for words alone."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .isa import ADDRESS_BITS
from .queue import Queue

__all__ = ["Gather", "word_layout"]

DEPTH = 16
"""Words that wait."""


def word_layout(config: CoreConfig) -> data.StructLayout:
    """A word of the spike memory, and its neurons to be set."""
    return data.StructLayout({"number": ADDRESS_BITS - (config.lanes - 1).bit_length(), "spikes": config.lanes})


class Gather(wiring.Component):
    """Makes one word of the events behind each other that are in the same one; hosts send them in order.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of ADDRESS_BITS)
        Neurons that spike.
    close : In(1)
        No event comes now: do not wait for more in the word that is open.
    o : Out(stream of word_layout)
    empty : Out(1)
        No event is left here.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(ADDRESS_BITS)), "close": In(1),
            "o": Out(stream.Signature(word_layout(config))), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lane_bits = (self.config.lanes - 1).bit_length()
        is_open, word = Signal(), Signal(word_layout(self.config))
        m.submodules.words = words = Queue(len(word.as_value()), DEPTH)
        lane, number = self.i.payload[:lane_bits], self.i.payload[lane_bits:]
        ends = is_open & Mux(self.i.valid, number != word.number, self.close)
        m.d.comb += [
            words.w_data.eq(word), words.w_en.eq(ends), self.i.ready.eq(words.w_rdy),
            self.o.payload.as_value().eq(words.r_data), self.o.valid.eq(words.r_rdy), words.r_en.eq(self.o.ready),
            self.empty.eq(~is_open & words.empty),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                is_open.eq(1), word.number.eq(number), word.spikes.eq(Mux(ends, 0, word.spikes) | (1 << lane)),
            ]
        with m.Elif(ends & words.w_rdy):
            m.d.sync += [is_open.eq(0), word.spikes.eq(0)]
        return m
