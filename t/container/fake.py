#!/usr/bin/python3
"""A container engine that answers wrongly: fake.py SOCKET MODE. It takes the few calls that
a session makes as an engine would, up to the one that MODE names, and logs each request."""
import base64
import io
import json
import os
import socket
import struct
import sys
import tarfile
import threading
import time

path, mode = sys.argv[1:3]
ID = "ab" * 32


def reply(connection, status, body=b"", more=b""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection.sendall(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                       b"%s\r\n" % (status, len(body), more) + body)


def tar(*entries, link=""):
    """(name, type, content) each."""
    out = io.BytesIO()
    archive = tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT)
    for name, kind, content in entries:
        entry = tarfile.TarInfo(name)
        entry.type, entry.size, entry.linkname = kind, len(content), link
        archive.addfile(entry, io.BytesIO(content))
    archive.close()
    return out.getvalue()


def swollen():
    """A header that promises 7 GB."""
    entry = tarfile.TarInfo("work/big")
    entry.size = 7 << 30
    return entry.tobuf(tarfile.USTAR_FORMAT)


def garbled():
    whole = bytearray(tar(("work/a", b"0", b"made")))
    whole[3] ^= 1
    return bytes(whole)


OUT = os.path.dirname(path)
TARS = {
    "dotdot": lambda: tar(("work/../../escaped", b"0", b"x")),
    "absolute": lambda: tar((OUT + "/escaped", b"0", b"x")),
    "elsewhere": lambda: tar(("escaped", b"0", b"x")),
    "through": lambda: tar(("work/d", tarfile.SYMTYPE, b""), ("work/d/escaped", b"0", b"x"), link=OUT),
    "self": lambda: tar(("work", tarfile.SYMTYPE, b""), link=OUT),
    "devices": lambda: tar(("work/a", b"0", b"made"), ("work/b", tarfile.BLKTYPE, b""),
                           ("work/f", tarfile.FIFOTYPE, b""), ("work/l", tarfile.SYMTYPE, b""),
                           ("work/h", tarfile.LNKTYPE, b""), link="/etc/passwd"),
    "many": lambda: tar(*[("work/%d" % i, b"0", b"") for i in range(200)]),
    "swollen": swollen,
    "garbled": garbled,
    "cut": lambda: tar(("work/a", b"0", b"made" * 1000))[:2000],
    "endless": lambda: tar(("work/a", b"0", b"made"))[:1024],
    "sparse": lambda: tar(("work/a", b"S", b"x" * 512), ("work/a", b"0", b"made")),
    "long": lambda: tar(("work/" + "n" * 3000, b"0", b"x"), ("work/a", b"0", b"made")),
}


pulled = []
runtime = []
PULLS = {
    "good": [{"status": "Pulling from library/x", "id": "1"}, {"status": "Downloading", "id": "a", "progress": "1/2"},
             {"status": "Downloading", "id": "a", "progress": "2/2"}, {"status": "Pull complete", "id": "a"}],
    "denied": [{"status": "Pulling"}, {"error": "denied: requested access\x1b[31m to the resource", "errorDetail": {}}],
    "rubbish": [b"no json\n", b"{" * 70000 + b"\n", [1, 2], {"status": 7}, {"status": "done"}],
}


def upgrade(connection):
    connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")


def alive(began=None):
    """The label of an engine that is this process, or was one of its number before it."""
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    began = began or open("/proc/self/stat").read().rpartition(")")[2].split()[19]
    return "%s/%s/%d/%s" % (boot, os.readlink("/proc/self/ns/pid"), os.getpid(), began)


def wrong(connection, kind):
    """Answers as `kind` says."""
    if kind == "hang":
        time.sleep(600)
    elif kind == "close":
        pass
    elif kind == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif kind == "garbage":
        connection.sendall(b"\x00\xff\x16\x03 this is no HTTP \x80" * 100)
    elif kind == "half":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"Id\":")
    elif kind == "halfchunk":
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{\"Id\":")
    elif kind == "badchunk":
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
    elif kind == "headers":
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                connection.sendall(b"X-More: " + b"x" * 4000 + b"\r\n")
        except OSError:
            pass
    elif kind == "huge":
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            pass
    elif kind == "json":
        reply(connection, 200, b'{"Id": [1, 2')
    elif kind == "type":
        reply(connection, 200, b'{"Id": {"x": 1}, "State": 7}')
    elif kind == "list":
        reply(connection, 200, b'[]')
    elif kind == "500":
        reply(connection, 500, {"message": "no space left on device\x1b[31m\nsecond line"})
    elif kind == "upgrade":
        upgrade(connection)


def answer(connection, method, target, body, held):
    where = target.partition("?")[0]
    step = {
        "/containers/create": "create", "/_ping": "ping", "/events": "events",
        "/containers/json": "list", "/version": "version", "/info": "info", "/images/create": "pull",
    }.get(where) or (
        "image" if where.startswith("/images/") else
        "put" if where.endswith("/archive") and method == "PUT" else
        "get" if where.endswith("/archive") else
        "exec" if where.endswith("/exec") else
        "run" if where.startswith("/exec/") and where.endswith("/start") else
        "look" if where.startswith("/exec/") else
        "attach" if where.endswith("/attach") else
        "start" if where.endswith("/start") else
        "remove" if method == "DELETE" else "inspect")
    wanted, _, kind = mode.partition(":")
    print(step, flush=True)
    if step == "create":
        runtime.append(json.loads(body)["HostConfig"].get("Runtime", ""))
        print("spec " + json.dumps(json.loads(body)), flush=True)
    if step == "image" and wanted.endswith("pull") and not pulled:
        reply(connection, 404, {"message": "no such image"})
        return
    if step == "pull":
        print("pull " + target, flush=True)
        pulled.append(target)
    if step == "pull" and kind in PULLS:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in PULLS[kind]:
            time.sleep(1 if wanted == "slowpull" else 0)
            text = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\r\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(text), text))
        connection.sendall(b"0\r\n\r\n")
        return
    if step == "get" and kind in TARS:
        reply(connection, 200, TARS[kind]())
        return
    if step == "put":
        names = tarfile.open(fileobj=io.BytesIO(body)).getnames()
        print("put " + " ".join(names), flush=True)
    if step == "exec":
        print("spec-exec " + json.dumps(json.loads(body)), flush=True)
    if step == "remove":
        print("removed " + where.rpartition("/")[2], flush=True)
    if (wanted, kind) == ("attach", "late") and step in ("attach", "remove"):
        time.sleep(2)  # the session's time is up meanwhile; its removal takes longer still
        if step == "remove":
            time.sleep(1)
    elif (wanted, kind) == ("attach", "ends") and step in ("attach", "inspect"):
        time.sleep(1 if step == "inspect" else 0)
        if step == "attach":
            upgrade(connection)
            return
    elif (wanted, kind) == ("list", "engines") and step == "list":
        reply(connection, 200, [{"Id": ID[:12], "State": "running", "Labels": {"kiln.engine": alive()}},
                                {"Id": "dead" * 3, "State": "running", "Labels": {"kiln.engine": alive("1")}},
                                {"Id": "e0de" * 3, "State": "exited", "Labels": {"kiln.engine": "x/1/2"}},
                                {"Id": "ab/../cd", "State": "exited", "Labels": {"kiln.engine": "x/1/2"}},
                                {"Id": "f00d" * 3, "State": "running", "Labels": {"kiln.engine": "x/1/2"}},
                                {"Id": "cafe" * 3, "State": "exited", "Labels": {"other": "x"}}])
        return
    elif step == wanted:
        wrong(connection, kind)
        return
    if step == "create":
        reply(connection, 201, {"Id": ID, "Warnings": []})
    elif step == "list":
        reply(connection, 200, [])
    elif step == "events":
        held.append(connection.dup())
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    elif step == "attach":
        upgrade(connection)
        held.append(connection.dup())
    elif step == "start":
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    elif step == "inspect":
        reply(connection, 200, {"Id": ID, "State": {"Running": True, "Pid": os.getpid()},
                                "HostConfig": {"Runtime": "runc" if mode == "runtime" else runtime[-1]}})
    elif step == "version":
        reply(connection, 200, {"Version": "1.0", "ApiVersion": "1.41",
                                "Components": [{"Name": "Engine", "Version": "1.0"}]})
    elif step == "info":
        reply(connection, 200, {"Runtimes": {"runc": {"path": "runc"}, "crun": {}}, "DefaultRuntime": "runc"})
    elif step == "exec":
        reply(connection, 201, {"Id": ID})
    elif step == "run":
        upgrade(connection)
        connection.sendall(struct.pack(">BxxxI", 1, 4) + b"ran\n")
    elif step == "look":
        reply(connection, 200, {"Running": False, "ExitCode": 0})
    elif step == "get":
        reply(connection, 200, tar(("work/", tarfile.DIRTYPE, b""), ("work/a", b"0", b"made")))
    elif step == "remove":
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    else:
        reply(connection, 200, {"Id": "x"})


def serve(connection):
    held = []
    try:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += connection.recv(65536)
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"x-registry-auth:"):
                value = line.split(b":", 1)[1].strip()
                print("auth " + base64.urlsafe_b64decode(value).decode(), flush=True)
        method, target = head.split(b" ", 2)[:2]
        answer(connection, method.decode(), target.decode(), body, held)
        if held:  # a stream: open until the other side closes it
            while connection.recv(65536):
                pass
    except OSError:
        pass
    finally:
        for other in held:
            other.close()
        connection.close()


listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(64)
print("listening", flush=True)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
