"""A small legacy backend: reads each message whole, answers `stored`. Listens on PORT, or a free one; prints it."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer in one packet, and at once.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while (length := int(self.rfile.readline(), 16)) > 0:
                self.rfile.read(length + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"stored")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


server = Server(("127.0.0.1", int(os.environ.get("PORT", "0"))), Backend)
print(server.server_address[1], flush=True)
server.serve_forever()
