"""What every test starts from: a process that hears Ctrl-C, as its children then do."""

from __future__ import annotations

import signal

# A shell without job control starts what it puts in the background deaf to Ctrl-C, and that is inherited.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
