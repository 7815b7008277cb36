"""SIGTERM (preemption) and SIGINT (Ctrl-C) as a question that a loop asks, not as an exception in its middle."""

import signal


class StopSignal:
    """While entered, `received` is the first such signal or None. A second SIGINT interrupts at once."""

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number, _frame):
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        print(f"\n{self.received.name}: stopping after this step", flush=True)
