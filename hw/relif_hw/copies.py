"""Copies of the registers that tell all lanes what to do: one for every few lanes, near them.

A register for all would be far from most of them: of the longest path of 16 lanes three quarters were one wire.
"""

from amaranth import Module, Signal, Value

from .arithmetic import Stages

__all__ = ["KEPT", "Copies"]

KEPT = "copy"
"""Name of the modules of copies. Synthesis must keep their hierarchy, or would make one register of them again."""
LANES = 4


class Copies:
    """Registers in modules of their own, one for every four lanes; what is returned is listed lane by lane.

    Parameters
    ----------
    m : Module
    lanes : int
    apart : bool
        Without it there is but one copy, in `m` itself.
    """

    def __init__(self, m: Module, lanes: int, *, apart: bool = True):
        self.lanes = lanes
        self.modules = [Module() for _ in range(lanes // LANES)] if apart else [m]
        if apart:
            for n, module in enumerate(self.modules):
                m.submodules[f"{KEPT}_{n}"] = module

    def _listed(self, copies):
        share = self.lanes // len(self.modules)
        return [copies[lane // share] for lane in range(self.lanes)]

    def register(self, name, value, enable=1):
        """The value one cycle later; it stays where `enable` is low."""
        registers = [Signal.like(value, name=f"copy_{n}_{name}", reset_less=len(Value.cast(value)) > 1)
                     for n in range(len(self.modules))]
        for module, register in zip(self.modules, registers, strict=True):
            with module.If(enable):
                module.d.sync += register.eq(value)
        return self._listed(registers)

    def stages(self, prefix, known):
        """`Stages` of what is known."""
        return self._listed([Stages(module, f"copy_{n}_{prefix}", dict(known))
                             for n, module in enumerate(self.modules)])
