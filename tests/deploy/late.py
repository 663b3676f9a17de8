"""Sends one message in two halves, the second when it is told to, and prints the first line of the answer.

    late.py PORT CERTIFICATE HALF REST

Makes the file HALF when the first half is out, and waits for the file REST. The token is in TOKEN_FILE.
"""

import os
import pathlib
import socket
import ssl
import sys
import time

port, certificate, half, rest = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
stream = context.wrap_socket(socket.create_connection(("localhost", int(port))), server_hostname="localhost")
token = pathlib.Path(os.environ["TOKEN_FILE"]).read_text(encoding="utf-8").strip()
head = f"POST /redox HTTP/1.1\r\nHost: localhost\r\nverification-token: {token}\r\nContent-Length: 10000\r\n\r\n"
stream.sendall(head.encode() + b"x" * 5000)
pathlib.Path(half).touch()
while not os.path.exists(rest):
    time.sleep(0.02)
stream.sendall(b"x" * 5000)
print(stream.recv(1000).decode().split("\r\n", 1)[0])
