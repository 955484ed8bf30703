"""Boards: cores that are written, read and run, wherever they are."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from relif_hw.config import CoreConfig, preset
from relif_hw.frames import ACCESS, MAX_PAYLOAD, FrameType, Identity, element_bytes
from relif_hw.isa import VALUE_ENTRY, Space, space_shape

from ..errors import BoardError, LinkError, ToolError
from ..model.fixed import FixedCore
from .identity import check_config, named
from .packing import pack
from .protocol import Session
from .transport import SerialTransport, TcpTransport, Transport
from .usb import UsbTransport

__all__ = ["DEFAULT_PRESET", "Board", "LinkBoard", "ModelBoard", "Result", "open"]

DEFAULT_PRESET = "lanes32"
"""The core of boards that are made when they are opened, `sim` and `model`."""

_READ_WORDS = 1 << 15
"""Words that one READ asks for at most."""

IntArray = npt.NDArray[np.int64]


class Result(NamedTuple):
    """What one SEND sent."""

    stream: int
    """Number of the population, 0 to 255."""
    kind: int
    """0: values, in units of 2**-F; 1: spikes, 0 or 1."""
    values: IntArray
    """One value per neuron; spikes come in whole words of P neurons."""


class Board(ABC):
    """A core, real, simulated or modelled. A context manager: leaving it closes the board."""

    identity: Identity
    """Versions and configuration of the core."""
    name: str
    """As messages call it."""

    @property
    def config(self) -> CoreConfig:
        """Configuration of the core."""
        return self.identity.config

    def write(self, space: Space, address: int, values: npt.ArrayLike) -> None:
        """Write whole words, `values` of shape (words, elements), from word `address` on.

        Done after all entries submitted before, and before any later one.
        """
        words, elements, bits, signed = space_shape(self.config, space)
        array = np.asarray(values)
        if array.dtype.kind not in "iu" and array.size:
            raise BoardError(f"{space.name}: values must be integers, not {array.dtype}")
        array = array.astype(np.int64)
        if array.ndim != 2 or array.shape[1] != elements:
            raise BoardError(f"{space.name}: words of {elements} elements are needed, not shape {array.shape}")
        self._check_range(space, address, len(array), words)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if array.size and (array.min() < low or array.max() > high):
            raise BoardError(f"{space.name}: values must be {low} to {high}, not {array.min()} to {array.max()}")
        if array.size:
            self._write(space, address, array)

    def read(self, space: Space, address: int = 0, words: int | None = None) -> IntArray:
        """Read whole words from word `address` on, all by default: shape (words, elements)."""
        depth, elements, _, _ = space_shape(self.config, space)
        words = depth - address if words is None else words
        self._check_range(space, address, words, depth)
        if words == 0:
            return np.zeros((0, elements), dtype=np.int64)
        return self._read(space, address, words)

    def submit(self, entries: npt.ArrayLike) -> None:
        """Queue events and ticks (`relif_hw.isa.event_entry`, `tick_entry`), which are done in order.

        Does not wait until they are done, at most until the board has room for them.
        """
        array = np.asarray(entries)
        if array.size == 0:
            return
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise BoardError(f"entries are a vector of integers, not {array.dtype} of shape {array.shape}")
        if array.min() < 0 or array.max() > 0xFFFF:
            raise BoardError(f"entries must be 0 to 65535, not {array.min()} to {array.max()}")
        events = array[array < VALUE_ENTRY]
        if events.size and events.max() >= self.config.neurons:
            raise BoardError(f"event address {events.max()} is out of range: the core has {self.config.neurons} "
                             "neurons")
        self._submit(array.astype(np.uint16))

    def _check_range(self, space: Space, address: int, words: int, depth: int) -> None:
        if address < 0 or words < 0 or address + words > depth:
            raise BoardError(f"{space.name}: words {address} to {address + words - 1} are not within "
                             f"0 to {depth - 1}")

    @abstractmethod
    def _write(self, space: Space, address: int, values: IntArray) -> None: ...

    @abstractmethod
    def _read(self, space: Space, address: int, words: int) -> IntArray: ...

    @abstractmethod
    def _submit(self, entries: npt.NDArray[np.uint16]) -> None: ...

    @abstractmethod
    def results(self) -> list[Result]:
        """Wait until everything submitted has been done; what SEND sent since the last call, in order."""

    @abstractmethod
    def close(self) -> None:
        """Let everything submitted arrive, and give the board back."""

    def _abandon(self) -> None:
        """Give the board back at once, after an error."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()


class ModelBoard(Board):
    """The fixed-point golden model in the place of a board."""

    def __init__(self, config: CoreConfig) -> None:
        self.name = "model"
        self.identity = Identity(config=config)
        self.core = FixedCore(config)
        self._results: list[Result] = []

    def _write(self, space: Space, address: int, values: IntArray) -> None:
        self.core.write(space, address, values)

    def _read(self, space: Space, address: int, words: int) -> IntArray:
        return self.core.read(space, address, words)

    def _submit(self, entries: npt.NDArray[np.uint16]) -> None:
        self._results += [Result(stream, kind, values.astype(np.int64))
                          for stream, kind, values in self.core.run(entries)]

    def results(self) -> list[Result]:
        results, self._results = self._results, []
        return results

    def close(self) -> None:
        self._results = []


class LinkBoard(Board):
    """A core behind the link.

    Parameters
    ----------
    transport : Transport
        Closed with the board, also if opening fails.
    config : CoreConfig or None
        What the board must be; whatever it is by default.
    retry, polls, patience
        See `Session`.
    """

    def __init__(self, transport: Transport, *, config: CoreConfig | None = None, **timing: Any) -> None:
        self.name = transport.name
        self.transport = transport
        self.session = Session(transport, **timing)
        self._rest: tuple[FrameType, bytes] | None = None       # submitted, not sent: a frame at most
        try:
            self.identity = named(self.session.hello())
            if config is not None:
                check_config(self.name, self.identity, config)
        except BaseException:
            transport.close()
            raise
        self._closed = False
        self._fault = self.session.fault

    def _submit(self, entries: npt.NDArray[np.uint16]) -> None:
        # Entries that do not fill a frame wait for more of them as long as the board is busy.
        packed = pack(entries)
        if self._rest:
            kind, rest = self._rest
            if kind == packed.kind:
                packed, self._rest = packed.after(rest), None
            else:
                self._send_entries()
        *frames, last = packed.frames()
        for payload in frames:
            self.session.send(packed.kind, payload)
        self._rest = packed.kind, last
        if not self.session.pending:
            self._send_entries()
        self.session.flush()

    def _send_entries(self) -> None:
        if self._rest:
            self.session.send(*self._rest)
            self._rest = None

    def _write(self, space: Space, address: int, values: IntArray) -> None:
        self._send_entries()
        size = element_bytes(self.config, space)
        packed = values.astype("<i8").view(np.uint8).reshape(*values.shape, 8)[:, :, :size].tobytes()
        word = values.shape[1] * size
        room = MAX_PAYLOAD - ACCESS.size
        single, double = room // word, (room + MAX_PAYLOAD) // word
        step = double if double > 2 * single else single
        for start in range(0, len(values), step):
            words = min(step, len(values) - start)
            payload = ACCESS.pack(space, address + start, words) + packed[start * word:(start + words) * word]
            if len(payload) <= MAX_PAYLOAD:
                self.session.send(FrameType.WRITE, payload)
            else:
                self.session.send(FrameType.WRITE_FIRST, payload[:MAX_PAYLOAD])
                self.session.send(FrameType.REST, payload[MAX_PAYLOAD:])
        self.session.flush()

    def _read(self, space: Space, address: int, words: int) -> IntArray:
        self._send_entries()
        _, elements, _, signed = space_shape(self.config, space)
        size = element_bytes(self.config, space)
        total = words * elements * size
        for start in range(0, words, _READ_WORDS):
            self.session.send(FrameType.READ, ACCESS.pack(space, address + start, min(_READ_WORDS, words - start)))
        self.session.wait(lambda: len(self.session.data) >= total)
        if len(self.session.data) != total:
            raise LinkError(f"{self.name}: {len(self.session.data)} bytes of {space.name} came, not {total}")
        octets = np.frombuffer(bytes(self.session.data), dtype=np.uint8).reshape(words, elements, size)
        self.session.data.clear()
        wide = np.zeros((words, elements, 8), dtype=np.uint8)
        wide[:, :, :size] = octets
        if signed:
            wide[:, :, size:] = np.where(octets[:, :, -1:] & 0x80, 0xFF, 0)
        return wide.view("<i8")[:, :, 0].astype(np.int64)

    def results(self) -> list[Result]:
        self._send_entries()
        self.session.wait(lambda: self.session.done)
        if self.session.fault and not self._fault:
            self._fault = True
            raise BoardError(f"{self.name}: the core dropped an event beyond its {self.config.neurons} neurons")
        elements = np.frombuffer(bytes(self.session.results), dtype="<u4")
        self.session.results.clear()
        results, position = [], 0
        while position < len(elements):
            header = int(elements[position])
            end = position + 1 + (header & 0xFFFF)
            if end > len(elements):
                raise LinkError(f"{self.name}: a result announces {header & 0xFFFF} elements, "
                                f"{len(elements) - position - 1} came")
            results.append(self._result(header >> 24, header >> 16 & 0xFF, elements[position + 1:end]))
            position = end
        return results

    def _result(self, stream: int, kind: int, elements: npt.NDArray[np.uint32]) -> Result:
        if kind == 0:
            return Result(stream, kind, elements.view("<i4").astype(np.int64))
        bits = np.unpackbits(elements.view(np.uint8), bitorder="little").reshape(-1, 32)
        return Result(stream, kind, bits[:, :min(32, self.config.lanes)].reshape(-1).astype(np.int64))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._send_entries()
                self.session.wait(lambda: self.session.done)
            finally:
                self.transport.close()

    def _abandon(self) -> None:
        self._closed = True
        self.transport.close()


def _simulated(config: CoreConfig, **options: Any) -> Transport:
    found = importlib.metadata.entry_points(group="relif.transports", name="sim")
    if not found:
        raise ToolError("no simulated board: relif is not installed (pip install -e '.[sim]')")
    transport: Transport = next(iter(found)).load()(config, **options)
    return transport


def open(spec: str, *, config: CoreConfig | None = None, **options: Any) -> Board:
    """Open a board.

    Parameters
    ----------
    spec : str
        "sim", "model", "serial:URL" (any pyserial URL; also "serial:///dev/ttyUSB0"),
        "usb://" (the only board on native USB), "usb://SERIAL" or "tcp://HOST:PORT".
    config : CoreConfig or None
        The core to make, for "sim" and "model" (by default that of `DEFAULT_PRESET`); the core that
        the board must have, for the others (by default whatever it has).
    options
        To the transport: `baudrate` of a serial port, `backend` of USB, `progress` of the simulated board.
        To the `Session`: `retry`, `polls`, `patience`.

    Raises
    ------
    TransportError
        There is no such port or board, it is busy, or nothing listens there.
    LinkError
        Nothing answers.
    BoardError
        The board has another version or another configuration.
    ToolError
        The simulated board cannot be compiled.
    """
    timing = {name: options.pop(name) for name in ("retry", "polls", "patience") if name in options}
    if spec == "model":
        return ModelBoard(config or preset(DEFAULT_PRESET))
    if spec == "sim":
        config = config or preset(DEFAULT_PRESET)
        return LinkBoard(_simulated(config, **options), config=config, **timing)
    if spec.startswith("serial:"):
        url = spec.removeprefix("serial:")
        return LinkBoard(SerialTransport(url.removeprefix("//"), **options), config=config, **timing)
    if spec.startswith("tcp://"):
        return LinkBoard(TcpTransport(spec.removeprefix("tcp://"), **options), config=config, **timing)
    if spec.startswith("usb://"):
        return LinkBoard(UsbTransport(spec.removeprefix("usb://"), **options), config=config, **timing)
    raise BoardError(f"no board is called {spec!r}; there are sim, model, serial:URL, usb://, usb://SERIAL and "
                     "tcp://HOST:PORT")
