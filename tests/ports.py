"""Finds ports of loopback that nothing listens on, and holds them until it is ended.

    ports.py COUNT

Prints them, all different, in one line. The kernel gives a port that is held to nobody who wants just any, be it to
listen or to connect from; one that was found and let go may be somebody else's a moment later. Whoever names it gets it
all the same, with SO_REUSEADDR as servers have it, since nothing listens here. Until then a connection is refused.
"""

import signal
import socket
import sys


def hold():
    """A socket that holds such a port."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


if __name__ == "__main__":
    all_held = [hold() for _ in range(int(sys.argv[1]))]
    print(*(held.getsockname()[1] for held in all_held), flush=True)
    signal.pause()
