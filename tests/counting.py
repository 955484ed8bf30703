"""A board that counts cycles as it is told, with a small network for the bench."""

from relif.bench import Case
from relif.host.board import ModelBoard
from relif_hw.config import CoreConfig
from relif_hw.isa import Opcode

CONFIG = CoreConfig(lanes=4, weight_words=256, state_words=64, neuron_words=32, name="small")
CASE = Case(6, 8, 2, True)


class CountingBoard(ModelBoard):
    """The golden model behind a transport that claims 100 cycles of INTEGRATE and 200 of LEARN a tick."""

    def __init__(self, config):
        super().__init__(config)
        self.transport = self
        self.ticks = 0

    def _submit(self, entries):
        self.ticks += int((entries >= 1 << 15).sum())
        super()._submit(entries)

    def profile(self):
        cycles = {Opcode.INTEGRATE: (100, 80), Opcode.LEARN: (200, 150)}
        return {opcode: tuple(self.ticks * n for n in cycles.get(opcode, (0, 0))) for opcode in Opcode}
