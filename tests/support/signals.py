"""Signals as a shell sets them for its children. `nohup` and many CI runners ignore or block some."""

import signal

RESTORED = {signal.SIGPIPE, signal.SIGXFSZ}
"""Python ignores them itself, and `subprocess` restores them in children."""


def default_signals() -> None:
    """Let this process and all its children handle every signal: children inherit ignored and blocked signals.

    Signals that were ignored still do nothing here, so that `nohup` keeps its meaning. Only Ctrl-C raises
    KeyboardInterrupt, because tests press it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - RESTORED:
        if signal.getsignal(number) is signal.SIG_IGN:  # a handler, unlike SIG_IGN, does not outlive exec
            signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
