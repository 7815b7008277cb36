"""The server's socket and its end: it stops at a signal, when it has answered what it has."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from geodesic.errors import UserError


class _Impatient(H11Protocol):
    """Closes a connection on which no whole request comes for as long as an answer may take."""

    patience = 30.0

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, error) -> None:
        self._watcher.cancel()
        super().connection_lost(error)

    def send_400_response(self, line: str) -> None:
        """Of what is no HTTP, perhaps only in its body: what is being answered is told that nobody listens."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        with contextlib.suppress(h11.LocalProtocolError):  # where it has answered, or may not say so much
            super().send_400_response(line)
        self.transport.close()

    def _watch(self) -> None:
        self._watcher = self.loop.call_later(self.patience, self._look, self.cycle)

    def _look(self, before) -> None:
        if self.cycle is before and (before is None or before.response_complete):
            self.transport.close()
        else:
            self._watch()


class Server(uvicorn.Server):
    """Ends as if nothing had happened, where uvicorn raises the signal once more. A second one ends it at once."""

    @contextlib.contextmanager
    def capture_signals(self):
        if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, number, frame) -> None:
        if not self.should_exit:
            print(f"{signal.Signals(number).name}: answering what was asked, then stopping", flush=True)
        self.force_exit, self.should_exit = self.should_exit, True


def opened(host: str, port: int) -> socket.socket:
    """Bound, before a model is loaded. Raises UserError where it cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}. Give "
                        f"another --host or --port; --port=0 takes any that is free") from error
    # asyncio sends small packets at once only where the socket says that it is TCP. Else they wait until the client has
    # confirmed the last one: 40 ms for each answer of a connection that stays open.
    return socket.socket(made.family, made.type, socket.IPPROTO_TCP, fileno=made.detach())


def serve(app, listener: socket.socket, seconds: float, told: Callable[[Server], None] = lambda server: None) -> None:
    """Until a signal. seconds: that an answer may take. told: of the server, before it starts."""
    _Impatient.patience = seconds
    config = uvicorn.Config(app, http=_Impatient, ws="none", lifespan="off", access_log=False, log_level="error",
                            timeout_graceful_shutdown=int(seconds) + 1, server_header=False, proxy_headers=False)
    server = Server(config)
    told(server)
    asyncio.run(server.serve(sockets=[listener]))
