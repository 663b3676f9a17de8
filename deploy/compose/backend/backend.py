"""A small legacy system: takes messages by POST over plain HTTP, answers `stored`, knows nothing of tokens.

Standard library alone. HOST and PORT say where it listens, 0.0.0.0:6661 unless told otherwise. One line on standard
output for each message, with the number that the sender gave it.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What the gateway lets through at most.
BODY_CAP = 42 * 1024 * 1024


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer in one packet, and at once.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.whole()
        try:
            number = json.loads(body)["Meta"]["Message"]["ID"]
        except (ValueError, KeyError, TypeError):
            self.answer(400, b"not understood")
            return
        # A token that gets this far would be one too many.
        leaked = any(name.lower() == "verification-token" for name in self.headers)
        print(f"stored {number}{' WITH THE TOKEN' if leaked else ''}", flush=True)
        self.answer(200, b"stored")

    def whole(self):
        """The body: by its length, or in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(min(int(self.headers.get("Content-Length", "0")), BODY_CAP))
        pieces = b""
        while (length := int(self.rfile.readline().split(b";")[0], 16)) > 0:
            if len(pieces) + length > BODY_CAP:
                raise ValueError("too large")
            pieces += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return pieces

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Only what is stored is worth a line."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server((os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "6661"))), Backend)
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()
