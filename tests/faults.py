"""A proxy that injects faults: it forwards to a real receiver, over HTTP or HTTPS, and applies to each request the fault that
a test has set.

    with FaultProxy(receiver_address) as proxy:
        proxy.play(Say(503), Reset("forwarded"), Stall(2.0))  # the next three requests; after them `proxy.usual` (Forward)
        ... POST to proxy.url("/v1/events") ...
        assert [request.forwarded for request in proxy.requests] == [False, True, True]

Threads and blocking sockets of its own, so tests of any kind can use it. It knows no receiver's protocol.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from tests.messages import fields_of, read_answer, read_chunks, read_head, status_of

__all__ = [
    "ByBody", "Close", "Drip", "Fault", "FaultProxy", "Forward", "Garbage", "Half",
    "Request", "Reset", "Say", "Slow", "Stall", "TooLarge",
]  # fmt: skip

_PATIENCE_S = 60.0  # for one read or write; then the connection is closed


@dataclass(frozen=True)
class Forward:
    """The receiver's own response. `close`: the connection ends after it without notice, as an idle server's does. `say`: the
    receiver gets the request, and the client gets this response."""

    close: bool = False
    say: Say | None = None


@dataclass(frozen=True)
class Say:
    """A response of the proxy; the receiver gets nothing. `early`: before the body, which is never read."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    early: bool = False

    def raw(self) -> bytes:
        headers = {"Content-Length": str(len(self.body)), **self.headers, **({"Connection": "close"} if self.early else {})}
        lines = [f"HTTP/1.1 {self.status} Said", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body


@dataclass(frozen=True)
class TooLarge:
    """413 for a body of more than `most` bytes; others are forwarded."""

    most: int
    early: bool = False


@dataclass(frozen=True)
class Reset:
    """RST: after the request's `head`, after its `body`, or when it was `forwarded` to the receiver."""

    when: Literal["head", "body", "forwarded"]


@dataclass(frozen=True)
class Close:
    """The request is read, and the connection closed without a response."""


@dataclass(frozen=True)
class Stall:
    """Nothing happens for `seconds` after the request was read."""

    seconds: float
    then: Fault = Forward()


@dataclass(frozen=True)
class Slow:
    """The body is read at `bytes_s` bytes a second. FaultProxy's `window` bounds what the kernel receives beyond that."""

    bytes_s: float
    then: Fault = Forward()


@dataclass(frozen=True)
class Half:
    """The first half of a response's bytes, then the connection ends. `of` Forward: the receiver has the request."""

    of: Forward | Say = Forward()


@dataclass(frozen=True)
class Drip:
    """A response byte by byte, with `pause_s` between them."""

    pause_s: float
    of: Forward | Say = Forward()


@dataclass(frozen=True)
class Garbage:
    """Bytes that are not HTTP, then the connection ends."""

    data: bytes = b"\x00\x01garbage\r\n\r\n"


@dataclass(frozen=True)
class ByBody:
    """The fault that `choose` returns for the body, as it was sent."""

    choose: Callable[[bytes], Fault]


Fault = Forward | Say | TooLarge | ByBody | Reset | Close | Stall | Slow | Half | Drip | Garbage


@dataclass
class Request:
    """One request and its outcome. `headers`: names in lower case. `size`: of the body, bytes. `forwarded`: the receiver
    has the whole request, and has responded. `answered`: the status of the response that the client got in full, or None."""

    number: int
    connection: int
    time: float  # time.monotonic(), when its head had been read
    method: str
    path: str
    headers: dict[str, str]
    size: int = 0
    fault: Fault | None = None
    forwarded: bool = False
    answered: int | None = None

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


class FaultProxy:
    """`receiver`: host and port. `tls`: for clients; can be replaced while it runs, for later connections.
    `receiver_tls`: how it speaks to the receiver. `window`: bytes that the kernel takes in before they are read
    (SO_RCVBUF). `listen`: its own address; port 0 is any that is free.
    """

    def __init__(
        self,
        receiver: tuple[str, int],
        *,
        tls: ssl.SSLContext | None = None,
        receiver_tls: ssl.SSLContext | None = None,
        window: int | None = None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._receiver = receiver
        self._receiver_tls = receiver_tls
        self._window = window
        self.tls = tls
        self.usual: Fault | Callable[[Request], Fault] = Forward()
        self.requests: list[Request] = []
        self.failed_handshakes: list[str] = []
        self.connections = 0
        self._script: deque[Fault] = deque()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        # Bound and never listening: reserves the port while the proxy is away.
        self._reservation = self._bound(listen)
        self.address: tuple[str, int] = self._reservation.getsockname()

    def __enter__(self) -> FaultProxy:
        self.back()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self.away()
        self._reservation.close()

    def url(self, path: str = "/") -> str:
        return f"{'https' if self.tls else 'http'}://{self.address[0]}:{self.address[1]}{path}"

    def play(self, *faults: Fault) -> None:
        """Adds faults: one for each of the next requests."""
        self._script.extend(faults)

    def away(self) -> None:
        """Refuses connections from now on, and resets those that are open."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
        with self._lock:
            for connection in self._open:
                _linger(connection)
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own, which takes away what the connection's thread is reading from.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def back(self) -> None:
        self._listener = self._bound(self.address)
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True, name="fault proxy").start()

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._window:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._window)
        bound.bind(address)
        return bound

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            arguments = (connection, self.connections, listener)
            threading.Thread(target=self._serve, args=arguments, daemon=True, name="fault proxy").start()

    def _serve(self, connection: socket.socket, number: int, listener: socket.socket) -> None:
        connection.settimeout(_PATIENCE_S)
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
        except OSError as error:
            self.failed_handshakes.append(str(error))
            connection.close()
            return
        with self._lock:
            self._open.add(connection)
        try:
            if self._listener is listener:  # or `away` was called meanwhile
                _Conversation(self, connection, number).run()
        except (OSError, ValueError):
            pass  # the client or the receiver closed the connection; `requests` has how far it came
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def choose(self, request: Request) -> Fault:
        """The fault for a connection's next request, which is recorded."""
        with self._lock:
            request.number = next(self._numbers)
            if self._script:
                request.fault = self._script.popleft()
            else:
                request.fault = self.usual(request) if callable(self.usual) else self.usual
            self.requests.append(request)
            return request.fault

    def forward(self, head: bytes, body: bytes, request: Request) -> bytes:
        """The receiver's response, unchanged, over a connection of its own."""
        upstream = socket.create_connection(self._receiver, timeout=_PATIENCE_S)
        if self._receiver_tls is not None:
            upstream = self._receiver_tls.wrap_socket(upstream, server_hostname=self._receiver[0])
        with upstream, upstream.makefile("rb") as stream:
            upstream.sendall(head + body)
            answer = read_answer(stream)
            request.forwarded = True
            return answer

    def pause(self, seconds: float) -> None:
        self._leaving.wait(seconds)


class _Conversation:
    """One connection: requests, one after the other, until one side ends it."""

    def __init__(self, proxy: FaultProxy, connection: socket.socket, number: int) -> None:
        self._proxy = proxy
        self._connection = connection
        self._number = number

    def run(self) -> None:
        # Unbuffered: a body that is not to be read stays in the kernel.
        with self._connection.makefile("rb", buffering=0) as stream:
            while (head := read_head(stream)) and self._one(stream, head):
                pass

    def _one(self, stream: BinaryIO, head: bytes) -> bool:
        """False when the connection ends with it."""
        first, headers = fields_of(head)
        method, path, _ = first.split(" ", 2)
        request = Request(0, self._number, time.monotonic(), method, path, headers)
        fault = self._proxy.choose(request)
        if isinstance(fault, Reset) and fault.when == "head":
            return self._reset()
        if isinstance(fault, TooLarge) and fault.early:
            fault = Say(413, early=True) if int(headers.get("content-length", 0)) > fault.most else Forward()
        if isinstance(fault, Say) and fault.early:
            self._send(fault.raw(), request)
            return False
        body = self._body(stream, headers, fault.bytes_s if isinstance(fault, Slow) else None)
        request.size = len(body)
        while isinstance(fault, Slow | Stall | ByBody):
            if isinstance(fault, ByBody):
                fault = fault.choose(body)
                continue
            if isinstance(fault, Stall):
                self._proxy.pause(fault.seconds)
            fault = fault.then
        return self._finish(fault, head, body, request)

    def _finish(self, fault: Fault, head: bytes, body: bytes, request: Request) -> bool:
        match fault:
            case TooLarge(most):
                return self._finish(Say(413) if len(body) > most else Forward(), head, body, request)
            case Say():
                self._send(fault.raw(), request)
                return True
            case Forward(close, say):
                answer = self._proxy.forward(head, body, request)
                self._send(say.raw() if say else answer, request)
                return not close
            case Reset(when):
                if when == "forwarded":
                    self._proxy.forward(head, body, request)
                return self._reset()
            case Half(of) | Drip(_, of):
                raw = of.raw() if isinstance(of, Say) else self._proxy.forward(head, body, request)
                if isinstance(fault, Half):
                    self._connection.sendall(raw[: len(raw) // 2])
                    return False
                for at in range(len(raw) - 1):
                    self._connection.sendall(raw[at : at + 1])
                    self._proxy.pause(fault.pause_s)
                self._send(raw, request, raw[-1:])
                return True
            case Garbage(data):
                self._connection.sendall(data)
        return False

    def _body(self, stream: BinaryIO, headers: Mapping[str, str], bytes_s: float | None) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return read_chunks(stream)
        size = int(headers.get("content-length", 0))
        body = bytearray()
        while len(body) < size:
            if bytes_s is not None:
                self._proxy.pause(0.02)
            piece = stream.read(min(size - len(body), max(1, int(bytes_s / 50)) if bytes_s else 1 << 16))
            if not piece:
                raise ConnectionError("the client left in the middle of a body")
            body += piece
        return bytes(body)

    def _send(self, raw: bytes, request: Request, left: bytes | None = None) -> None:
        request.answered = status_of(raw)  # before sending: the client may check before this thread continues
        try:
            self._connection.sendall(raw if left is None else left)
        except OSError:
            request.answered = None
            raise

    def _reset(self) -> bool:
        _linger(self._connection)
        return False


def _linger(connection: socket.socket) -> None:
    """Closing it sends RST."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
