"""Two hosts: this one, and a network namespace with a link to it that can be slow, or down. It needs Linux and root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HERE, THERE = "198.18.77.1", "198.18.77.2"
"""Addresses of the block that is kept for tests of networks (RFC 2544)."""


class Link:
    """The link between both hosts.

    Attributes:
        name: The namespace.
        enter: What a command begins with that runs on the other host.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.enter = ["ip", "netns", "exec", name]
        self._ends = f"{name}-h", f"{name}-t"

    def make(self) -> None:
        """Make the other host, and a link of 1 Gbit a second to it."""
        here, there = self._ends
        command("ip", "netns", "add", self.name)
        command("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        for end, address, where in ((here, HERE, []), (there, THERE, ["-n", self.name])):
            command("ip", *where, "addr", "add", f"{address}/30", "dev", end)
            command("ip", *where, "link", "set", end, "up")
            command("tc", *where, "qdisc", "add", "dev", end, "root", "tbf", "rate", "1gbit", *BURST)
        command("ip", "-n", self.name, "link", "set", "lo", "up")

    def cut(self) -> None:
        """Let nothing pass to the other host. Nobody hears of it: the frames are for an address that none has."""
        command("ip", "neigh", "replace", THERE, "lladdr", "02:00:00:00:00:00", "dev", self._ends[0])

    def down(self) -> None:
        """Take the link down."""
        command("ip", "link", "set", self._ends[0], "down")

    def remove(self) -> None:
        """Remove the link and the other host."""
        for words in (["link", "del", self._ends[0]], ["netns", "del", self.name]):
            subprocess.run(["ip", *words], capture_output=True, check=False)


BURST = ("burst", "256k", "latency", "50ms")


def command(*words: str) -> None:
    """Run a command that must work."""
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[Link]:
    """Make the other host and the link, and remove them in the end."""
    link = Link(f"zv{os.getpid()}")
    try:
        link.make()
        yield link
    finally:
        link.remove()


def can_make_hosts() -> bool:
    """Return whether this process may make a host, and has the programs for it."""
    if sys.platform != "linux" or os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        return False
    with suppress(subprocess.CalledProcessError), two_hosts():
        return True
    return False
