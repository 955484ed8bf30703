"""The device: a core behind the link. Board tops, the simulated board and the link's benches use it."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from .config import CoreConfig
from .core import Core
from .frames import Identity
from .isa import Opcode
from .link import Link

__all__ = ["Device"]


class Device(wiring.Component):
    """A core behind two byte streams.

    Parameters
    ----------
    config : CoreConfig
    receive_slots, transmit_slots : int
        Frames of 256 bytes that the rings of the link hold: 2, 4 or 8.
    core : Component or None
        In place of `Core(config)`, with the same ports.

    Members
    -------
    rx : In(stream of 8), tx : Out(stream of 8)
        Bytes from and to the host.
    idle, waiting : Out(1)
        Nothing will happen, or nothing more be sent, until a byte comes; see `Link`.
    fault : Out(1)
    profile_opcode : Out(4), profile_issue : Out(1)
        As of `Core`.
    """

    def __init__(self, config: CoreConfig, *, receive_slots: int = 4, transmit_slots: int = 4, core=None):
        self.core = Core(config) if core is None else core
        self.identity = Identity(config=config, receive_slots=receive_slots, transmit_slots=transmit_slots)
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "idle": Out(1),
            "waiting": Out(1),
            "fault": Out(1),
            "profile_opcode": Out(Opcode),
            "profile_issue": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.link = link = Link(self.identity)
        connect(m, wiring.flipped(self.rx), link.rx)
        connect(m, wiring.flipped(self.tx), link.tx)
        for name in ("entries", "access", "wdata", "rdata", "results"):
            connect(m, getattr(link, name), getattr(core, name))
        m.d.comb += [
            link.core_idle.eq(core.idle), link.core_fault.eq(core.fault),
            self.idle.eq(link.idle), self.waiting.eq(link.waiting), self.fault.eq(core.fault),
            self.profile_opcode.eq(core.profile_opcode), self.profile_issue.eq(core.profile_issue),
        ]
        return m
