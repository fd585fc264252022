"""Ends a process of Triton's that outlives its server: a stub, which runs a model's Python."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

_WATCH = """
trap '' HUP INT QUIT TERM
stub=$1 server=$2
shift 2
value_of() {
    while read -r name value rest; do
        if [ "$name" = "$2" ]; then echo "$value"; return; fi
    done <"/proc/$1/status"
}
lives() { case $(value_of "$1" State:) in ""|Z) return 1 ;; esac }
while lives "$stub" && [ "$(value_of "$stub" PPid:)" = "$server" ]; do sleep 1 || exit; done
if lives "$stub"; then
    sleep 5
    grep -qs "$1" "/proc/$stub/cmdline" && kill -9 "$stub"
else
    sleep 5
    lives "$server" && exit
fi
cd /dev/shm && rm -f "$@"
"""
"""A stub with another parent has lost its server, which may be ending still. One that is gone was unloaded, if its
server lives. A process that has ended may be kept as a zombie (Z) by a container's first process. Ctrl-C and the end of
a service reach this process too, and then it is needed. A region's name is that of one stub only."""

_SURVIVED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

_watches: list[subprocess.Popen[bytes]] = []
"""Kept, because Python warns of a process that runs and is forgotten."""


def end_with(server: int) -> None:
    """End this process some seconds after its parent, `server`, has ended, and remove the memory that both shared.

    Triton's stub does so by itself, but not while it waits for the server's answer: to a part of a picture that it has
    sent, to the question whether the client has gone, or to its last response. There it holds Python's lock, so that no
    thread could end it: a process of its own watches. Maps on disk have no names, so the system frees them.
    """
    words = Path("/proc/self/cmdline").read_text().split("\0")
    regions = [word for word in words if word.startswith("triton_python_backend_shm_region_")]
    quiet = subprocess.DEVNULL
    watch = ["/bin/sh", "-c", _WATCH, "zvae-watch", str(os.getpid()), str(server), *regions]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SURVIVED)  # a shell that is just starting ignores none yet
    try:
        _watches.append(subprocess.Popen(watch, stdin=quiet, stdout=quiet, stderr=quiet))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
