"""`forklore top` in a pseudo-terminal: every byte that it writes is checked."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios

import pyte
import pytest

from .answers import HOSTILE, detail, fork, node, pod, pods, tree
from .processes import environment_of

pytestmark = pytest.mark.slow

COLUMNS, LINES = 160, 40
END = b"(end of output)"
# What Textual writes to a terminal: modes, cursor, colours, the title, queries for its features.
KNOWN = re.compile(
    r"\x1b\[[?>=<]?[0-9;:]*[$]?[a-zA-Z]"  # CSI
    r"|\x1b[78=>]"
    r"|\x1bP[=+$]?[0-9a-z;]*\x1b\\"  # DCS: whether it draws whole screens at once
    r"|\x1b\]22;[a-z]+\x07"  # OSC: the pointer's shape
)
# A control sequence that continues in the next read.
UNFINISHED = re.compile(rb"\x1b(P[^\x1b]*\x1b?|\[[?>=<]?[0-9;]*[$]?|\][^\x07\x1b]*\x1b?)?\Z")


class Terminal:
    """A pseudo-terminal with the command in it."""

    def __init__(self, collector, *arguments, **environment):
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = self._begun = b""
        self._collector, self._arguments, self._environment = collector, arguments, environment

    async def __aenter__(self):
        self.own, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", *self._arguments, stdin=theirs, stdout=theirs, stderr=theirs,
            env=environment_of(self._collector, **({"TERM": "xterm-256color"} | self._environment)), start_new_session=True,
        )  # fmt: skip
        os.set_blocking(self.own, False)
        asyncio.get_running_loop().add_reader(self.own, self._read)
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        asyncio.get_running_loop().remove_reader(self.own)
        os.close(self._theirs)
        os.close(self.own)

    def _read(self):
        piece = os.read(self.own, 65536)
        self.raw += piece
        whole = self._begun + piece
        cut = UNFINISHED.search(whole)
        whole, self._begun = (whole[: cut.start()], cut[0]) if cut else (whole, b"")
        # pyte knows no private modes of other letters than h and l, and no device control strings.
        self._stream.feed(re.sub(rb"\x1bP[^\x1b]*\x1b\\|\x1b\[[?>=<][0-9;]*[$]?[a-gi-km-z]", b"", whole))

    @property
    def text(self):
        return "\n".join(self.screen.display)

    def press(self, keys):
        os.write(self.own, keys)

    async def until(self, text):
        for _ in range(20 * 20):
            if text in self.text:
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"no {text!r} in\n{self.text}")

    async def exit_code(self):
        async with asyncio.timeout(20):
            code = await self.process.wait()
        os.write(self._theirs, END)  # the terminal keeps the order: before this comes all that the command wrote
        async with asyncio.timeout(20):
            while END not in self.raw:  # noqa: ASYNC110 - the reader has no event for this
                await asyncio.sleep(0.01)
        self.raw = self.raw.partition(END)[0]
        return code

    @property
    def is_as_before(self):
        return termios.tcgetattr(self._theirs) == self.before


@pytest.fixture
def hostile(collector):
    entries = [pod(f"{name}-{place}", namespace=name, node=name, rate=place) for place, name in enumerate(HOSTILE)]
    entries[-1] = pod("cart-1", rate=99.0)
    collector.answers["/v1/pods"] = pods(*entries)
    collector.answers["/v1/pods/shop/cart-1"] = detail(
        entries[-1], latest=[fork(one, comm=name) for one, name in enumerate(HOSTILE)]
    )
    collector.answers["/v1/pods/shop/cart-1/tree"] = tree(*(node(7000 + one, name) for one, name in enumerate(HOSTILE)))
    return collector


async def test_no_name_can_control_the_terminal(hostile):
    async with Terminal(hostile, "top") as terminal:
        await terminal.until("shop/cart-1")
        await terminal.until("q quit")
        assert "9 pods" in terminal.text and "/ filter" in terminal.text and "detail" in terminal.text
        terminal.press(b"\r")
        await terminal.until("541 processes")
        terminal.press(b"3")
        await terminal.until("pwned")  # the lineage, with its escapes written out
        terminal.press(b"4")
        await terminal.until("-> 7000/100")
        terminal.press(b"\x1b")
        await terminal.until("lately")
        terminal.press(b"q")
        assert await terminal.exit_code() == 0
        rest = KNOWN.sub("", terminal.raw.decode())
        strange = {letter for letter in rest if not letter.isprintable() and letter not in "\r\n"}
        assert not strange, [rest[max(0, rest.index(letter) - 30) :][:60] for letter in strange]
        assert "\x1b[2J" not in terminal.raw.decode().partition("pods")[2].partition("\x1b[?1049l")[0]
        assert terminal.is_as_before and terminal.raw.rstrip().endswith((b"h", b"l", b"u", b"m"))


@pytest.mark.parametrize(
    ("leave", "code"), [(b"q", 0), (b"\x03", 0), (signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 0)]
)
async def test_the_terminal_is_restored_however_it_ends(hostile, leave, code):
    async with Terminal(hostile, "top") as terminal:
        await terminal.until("shop/cart-1")
        assert not terminal.is_as_before
        if isinstance(leave, bytes):
            terminal.press(leave)
        else:
            terminal.process.send_signal(leave)
        assert await terminal.exit_code() == code
        assert terminal.is_as_before and b"\x1b[?1049l" in terminal.raw and b"Traceback" not in terminal.raw


async def test_no_color_has_no_colours(hostile):
    async with Terminal(hostile, "top", NO_COLOR="1") as terminal:
        await terminal.until("shop/cart-1")
        terminal.press(b"q")
        await terminal.exit_code()
        colours = {
            (int(red), int(green), int(blue))
            for red, green, blue in re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", terminal.raw.decode())
        }
        assert all(red == green == blue for red, green, blue in colours)
    async with Terminal(hostile, "tree", "shop/cart-1", NO_COLOR="1") as terminal:
        assert await terminal.exit_code() == 0
        assert b"7000/1000" in terminal.raw and b"\x1b" not in terminal.raw


async def test_a_terminal_gets_colours_and_progress_that_is_cleared(hostile):
    lineage = hostile.answers["/v1/pods/shop/cart-1/tree"]

    async def slow():
        await asyncio.sleep(1.6)
        return lineage

    hostile.answers["/v1/pods/shop/cart-1/tree"] = lambda _: slow()
    async with Terminal(hostile, "tree", "shop/cart-1") as terminal:
        await terminal.until("... 1 s")
        assert await terminal.exit_code() == 0
        assert b"\x1b[1m" in terminal.raw and "asking" not in terminal.text and "7000/1000" in terminal.text


async def test_a_dumb_terminal_gets_the_table_once(hostile):
    async with Terminal(hostile, "top", TERM="dumb") as terminal:
        assert await terminal.exit_code() == 0
        assert b"shop/cart-1" in terminal.raw and b"\x1b" not in terminal.raw
