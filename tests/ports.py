"""Finds ports of loopback that nothing listens on, and holds them until it is ended.

    ports.py COUNT

Prints them, all different, in one line. The kernel gives a port that is held to nobody who wants just any, be it to
listen or to connect from; one that was found and let go may be somebody else's a moment later. Whoever names it gets it
all the same, with SO_REUSEADDR as servers have it, since nothing listens here. Until then a connection is refused.
"""

import signal
import socket
import sys

held = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in held:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held), flush=True)
signal.pause()
