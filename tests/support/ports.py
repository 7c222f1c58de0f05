"""Ports for the servers that tests start."""

import socket


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that stays free for the server that will be told to use it.

    A connection to the port is opened and closed from the port's side, which leaves it in
    TIME_WAIT: for a minute the kernel gives it to nobody who asks for just any port, while a
    server that names it (with SO_REUSEADDR, as servers do) gets it.
    """
    with socket.socket() as listener, socket.socket() as peer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        peer.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.close()
        port: int = listener.getsockname()[1]
        return port
