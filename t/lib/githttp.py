"""A Git HTTP server for tests: git http-backend behind Python's own, on loopback.

githttp.py ROOT [MODE]: prints "PORT\n" and serves ROOT/*.git. Basic authentication for
paths that begin with /private/ (user "kiln", password of the file ROOT/password). MODE, or
the first part of the path after a "~": slow (an answer that drips), dying (closes within
the answer), echo (refuses, with the Authorization header in what it says), redirect.
Every request is a line of ROOT/requests: METHOD PATH AUTHORIZED.
"""
import base64
import http.server
import os
import subprocess
import sys
import threading
import time

ROOT = os.path.abspath(sys.argv[1])
LOCK = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def authorized(self):
        with open(ROOT + "/password") as file:
            wanted = "Basic " + base64.b64encode(("kiln:" + file.read().strip()).encode()).decode()
        return self.headers.get("Authorization") == wanted

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        path, _, query = self.path.partition("?")
        parts = path.lstrip("/").split("/")
        mode = parts.pop(0)[1:] if parts[0].startswith("~") else ""
        authorized = self.authorized()
        with LOCK, open(ROOT + "/requests", "a") as log:
            log.write("%s %s %s\n" % (self.command, self.path, authorized))
        if mode == "echo":
            said = "remote says " + (self.headers.get("Authorization") or "nothing")
            return self.answer(403, said.encode(), Content_Type="text/plain; charset=utf-8")
        if mode == "redirect":
            return self.answer(302, b"", Location="/" + "/".join(parts) + "?" + query)
        if parts[0] == "private" and not authorized:
            return self.answer(401, b"", WWW_Authenticate='Basic realm="test"')
        body = self.body()
        done = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env={
            "PATH": "/usr/bin:/bin", "GIT_PROJECT_ROOT": ROOT, "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1", "HOME": ROOT, "PATH_INFO": "/" + "/".join(parts), "QUERY_STRING": query,
            "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1", "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}).stdout
        head, _, content = done.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.send(content, mode)

    def body(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return body

    def send(self, content, mode):
        if mode == "dying":
            self.wfile.write(content[:len(content) // 2])
            self.close_connection = True
        elif mode == "slow":
            for at in range(len(content)):
                self.wfile.write(content[at:at + 1])
                time.sleep(0.05)
        else:
            self.wfile.write(content)

    do_GET = do_POST = serve


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that left


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
