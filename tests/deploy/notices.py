"""Plays the service manager's ear: prints what is sent to the socket named, one line for each notice.

    notices.py SOCKET
"""

import socket
import sys

ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind(sys.argv[1])
print("listening", flush=True)
while True:
    print(ear.recv(4096).decode().strip().replace("\n", " "), flush=True)
