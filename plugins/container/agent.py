"""The worker in a container: frames in, session.py, frames out. `parts` are the runner's
files by name, as bytes, and "options", NAME=value lines.

The one frame codec in Python; the format is that of engine/worker/frame.h. Frames go
over a socket of its own in the work directory, made before any code has run, or, with
the option carrier=stdio, over standard input and output.

What the code, or a program that it starts, writes to descriptors 1 and 2 itself goes
into pipes, and from there into frames by a thread.

Python 3.8 and newer, standard library alone."""
import json
import os
import select
import signal
import struct
import sys
import threading
import time

try:
    import fcntl
except ImportError:
    fcntl = None
try:
    import resource
except ImportError:
    resource = None

# What is needed while cells run is taken now: code may replace it in its module.
_read, _write, _getpid, _exit = os.read, os.write, os.getpid, os._exit
_mask, _raise = signal.pthread_sigmask, signal.raise_signal
_set_handler, _handlers = signal.signal, (signal.SIGINT, signal.SIGIO)
_BLOCK, _SETMASK = signal.SIG_BLOCK, signal.SIG_SETMASK
_ident, _select, _times, _process_time = threading.get_ident, select.select, os.times, time.process_time
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_control = fcntl.fcntl if fcntl is not None else None
_SETFL, _ASYNC = getattr(fcntl, "F_SETFL", 0), getattr(os, "O_ASYNC", 0o20000)
_usage = (lambda get, who: lambda: get(who).ru_maxrss * 1024)(
    resource.getrusage, resource.RUSAGE_SELF) if resource is not None else lambda: 0

EXECUTE, QUERY, INTERRUPT, RETURN, CALL = 0x01, 0x03, 0x04, 0x06, 0x55
STDOUT, STDERR, DONE, READY, FAILED, REPLY = 0x41, 0x42, 0x50, 0x52, 0x53, 0x54
# An event's type in plugin.h -> its frame's
EVENTS = {2: 0x43, 3: 0x44, 4: 0x45, 5: 0x46, 6: 0x47}
VERSION = 1
PAYLOAD_MAX = 128 << 20  # of one request
EVENT_MAX = 32 << 20
REPLY_MAX = 4 << 20
QUERY_MEMORY = 256 << 20  # bytes beyond what is mapped, for an answer
PIECE = 1 << 20  # bytes of one stream frame
DRAIN_MAX = 1 << 20  # of a pipe at a cell's end; a program may write on for ever
F_SETOWN_EX, F_OWNER_TID = 15, 0

_header = struct.Struct("<IBBH")
_numbers = struct.Struct("<II")
# Whose handlers may be the code's, and raise: not in the middle of a frame.
_signals = frozenset(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV,
                                      signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


_LOG = [2]


class Bad(Exception):
    """A frame that the engine would not send."""


class Frames:
    """The codec, over two descriptors."""

    def __init__(self, source, target):
        self.source = source
        self.target = target
        self.buffer = bytearray()
        self.lock = threading.Lock()
        self.main = _ident()
        self.held = b""

    def hold(self, kind, payload):
        """Goes out with the next: what comes last in a cell, with its end."""
        self.held += _header.pack(len(payload), kind, VERSION, 0) + payload

    def send(self, kind, payload):
        """One frame, whole. A signal waits until it is out."""
        data = self.held + _header.pack(len(payload), kind, VERSION, 0) + payload
        self.held = b""
        if _ident() != self.main:
            with self.lock:
                self._write(data)
            return
        before = _mask(_BLOCK, _signals)
        try:
            with self.lock:
                self._write(data)
        finally:
            _mask(_SETMASK, before)

    def _write(self, data):
        try:
            sent = _write(self.target, data)
            if sent < len(data):
                rest = memoryview(data)[sent:]
                while rest:
                    rest = rest[_write(self.target, rest):]
        except OSError:
            _exit(1)  # the engine is gone

    def take(self):
        """The next whole frame in the buffer: (type, payload), or None."""
        if len(self.buffer) < _header.size:
            return None
        length, kind, version, reserved = _header.unpack_from(self.buffer)
        if version != VERSION or reserved or length > PAYLOAD_MAX or kind not in (
                EXECUTE, QUERY, INTERRUPT, RETURN):
            raise Bad("type 0x%02x, version %d, %d bytes" % (kind, version, length))
        end = _header.size + length
        if len(self.buffer) < end:
            return None
        payload = bytes(memoryview(self.buffer)[_header.size:end])
        del self.buffer[:end]
        return kind, payload

    def receive(self):
        """Waits for a frame; None: the engine has closed."""
        while True:
            frame = self.take()
            if frame is not None:
                return frame
            piece = _read(self.source, 1 << 16)
            if not piece:
                return None
            self.buffer += piece

    def waiting(self):
        """Bytes that are there now are put into the buffer; was there one?"""
        some = False
        while _select([self.source], [], [], 0)[0]:
            piece = _read(self.source, 1 << 16)
            if not piece:
                _exit(1)  # the engine is gone, and nobody waits for this cell
            self.buffer += piece
            some = True
        return some


class Outputs:
    """Descriptors 1 and 2, as pipes that are read into frames."""

    def __init__(self, frames):
        self.frames = frames
        self.running = False  # a cell: what comes between two is dropped
        self.lock = threading.Lock()
        self.pipes = []
        for number, kind in ((1, STDOUT), (2, STDERR)):
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            os.dup2(writer, number, inheritable=True)
            os.close(writer)
            self.pipes.append((reader, kind))

    def start(self):
        threading.Thread(target=self._pump, name="kiln-outputs", daemon=True).start()

    def _read(self, reader, kind):
        """With the lock held, so that what was read is sent before a cell's end is."""
        try:
            piece = _read(reader, 1 << 16)
        except BlockingIOError:
            return 0
        if self.running:
            self.frames.send(kind, piece)
        return len(piece)

    def _pump(self):
        poll = select.poll()
        kinds = dict(self.pipes)
        for reader in kinds:
            poll.register(reader, select.POLLIN)
        while True:
            for reader, _ in poll.poll():
                with self.lock:
                    self._read(reader, kinds[reader])

    def drain(self):
        """What was written before the cell's end belongs to it."""
        with self.lock:
            for reader, kind in self.pipes:
                total = 0
                while total < DRAIN_MAX:
                    got = self._read(reader, kind)
                    if not got:
                        break
                    total += got


class Channel:
    """What session.py sees as `channel`."""

    def __init__(self, frames, outputs, options, log):
        self._frames = frames
        self._outputs = outputs
        self._options = options
        self._log = log
        self._owner = _getpid()
        self._armed = False
        self._interrupted = False
        self._cell = None  # id of the running cell or query
        self._quiet = False  # it is a query: what it emits is dropped
        self._flags = None
        self._calls = 0  # of this cell
        self._answer = None
        if fcntl is not None:
            self._tell_of_input()

    # Bytes that come while a cell runs are an interrupt: the kernel sends SIGIO to the
    # main thread, which reads them.
    def _tell_of_input(self):
        source = self._frames.source
        try:
            owner = struct.pack("ii", F_OWNER_TID, threading.get_native_id())
            fcntl.fcntl(source, F_SETOWN_EX, owner)
            self._flags = fcntl.fcntl(source, fcntl.F_GETFL)
        except OSError:
            self._flags = None  # a kernel without it (gVisor): cells cannot be interrupted
        signal.signal(signal.SIGIO, self._on_input)

    def _on_input(self, number, frame):
        if self._cell is None or _getpid() != self._owner or not self._frames.waiting():
            return
        if self._take_interrupts():
            # By way of SIGINT: the code may have a handler of its own.
            _raise(_handlers[0])

    def _take_interrupts(self):
        """Whether one for the running cell is among the frames that have come."""
        meant = False
        frame = self._frames.take()
        while frame is not None:
            if frame[0] == RETURN:
                if int.from_bytes(frame[1][:4], "little") == self._calls:
                    self._answer = frame[1][4:]  # else the call was given up
            elif frame[0] == INTERRUPT:
                meant = meant or _decode(frame[1].decode())["id"] == self._cell
            else:
                _exit(1)  # no engine asks while a cell runs
            frame = self._frames.take()
        return meant

    def _on_sigint(self, number, frame):
        if _getpid() != self._owner:
            raise KeyboardInterrupt
        if not self._armed:
            return
        self._interrupted = True
        raise KeyboardInterrupt

    def _raw(self, number, data):
        while data:
            data = data[_write(number, data):]

    def stream(self, number, data):
        length = len(data)
        if isinstance(data, str):
            try:
                data = data.encode("utf-8")
            except UnicodeEncodeError:
                try:
                    data = data.encode("utf-8", "surrogateescape")
                except UnicodeEncodeError:
                    data = data.encode("utf-8", "backslashreplace")
        else:
            data = bytes(data)
            length = len(data)
        if self._cell is None or self._quiet or _getpid() != self._owner:
            self._raw(number, data)
            return length
        kind = STDERR if number == 2 else STDOUT
        for at in range(0, len(data), PIECE):
            self._frames.send(kind, data[at:at + PIECE])
        return length

    def emit(self, kind, text, last=False):
        if self._cell is None or self._quiet or _getpid() != self._owner:
            return False
        payload = text.encode("utf-8")
        if len(payload) > EVENT_MAX:
            kind = 4
            payload = (b'{"name":"OutputTooLarge","value":"an output of more than 32 MiB '
                       b'was dropped","traceback":[]}')
        (self._frames.hold if last else self._frames.send)(EVENTS[kind], payload)
        return True

    def emit_last(self, kind, text):
        return self.emit(kind, text, True)

    def log(self, level, text):
        self._raw(self._log, ("%s\n" % text).encode("utf-8", "replace"))

    def option(self, name):
        return self._options.get(name)

    def arm(self, on):
        if on:
            _set_handler(_handlers[0], self._on_sigint)
            self._interrupted = False
            self._armed = True
            if self._flags is not None:
                _control(self._frames.source, _SETFL, self._flags | _ASYNC)
                if self._frames.waiting() and self._take_interrupts():
                    _raise(_handlers[0])
        else:
            self._armed = False
            if self._flags is not None:
                _control(self._frames.source, _SETFL, self._flags)
        return self._interrupted

    def call(self, data):
        """Asks the engine and waits. Interrupts are looked for here meanwhile."""
        if (self._cell is None or self._quiet or _getpid() != self._owner
                or _ident() != self._frames.main):
            raise RuntimeError("only the thread that runs the cell, in its own process, can call")
        if self._flags is not None:
            _control(self._frames.source, _SETFL, self._flags)
        try:
            self._calls += 1
            self._answer = None
            self._frames.send(CALL, _numbers.pack(self._cell, self._calls) + data)
            while self._answer is None:
                if self._take_interrupts():
                    _raise(_handlers[0])
                elif self._answer is None:
                    _select([self._frames.source], [], [])
                    self._frames.waiting()
            return self._answer
        finally:
            if self._flags is not None and self._armed:
                _control(self._frames.source, _SETFL, self._flags | _ASYNC)
                if self._frames.waiting() and self._take_interrupts():
                    _raise(_handlers[0])

    def code(self, name):
        return compile(parts[name], "<kiln>/%s.py" % name, "exec", 0, True)

    # ---- for the loop below

    def begin(self, number):
        self._cell = number
        self._calls = 0
        self._outputs.running = True

    def end(self):
        self._outputs.drain()
        self._outputs.running = False
        self._cell = None

    def ask(self, number):
        """In place of begin, for a query."""
        self._cell = number
        self._quiet = True

    def answered(self):
        self._cell = None
        self._quiet = False


def _processor_time():
    """Of the process and of the children that it has waited for, in milliseconds."""
    children = _times()
    return _process_time() * 1000 + (children[2] + children[3]) * 1000


def _load(channel):
    """session.py, with builtins that the code does not reach."""
    module = type(sys)("kiln.session")
    module.__dict__["__builtins__"] = dict(__builtins__ if isinstance(__builtins__, dict)
                                           else vars(__builtins__))
    module.__dict__["channel"] = channel
    exec(channel.code("session"), module.__dict__)
    return module


_execute_head = struct.Struct("<IQ6I")
_done_body = struct.Struct("<I4B2Q")
_NONE = 0xFFFFFFFF
_STATUSES = {0: 0, 1: 1, 5: 2}  # of plugin.h -> of a DONE


def _request(payload):
    """(id, count, code, cell id, stdin, arguments, variables) of an EXECUTE."""
    number, count, code, cell, stdin, arguments, variables, _ = _execute_head.unpack_from(payload)
    at = _execute_head.size
    fields = []
    for length in (code, cell, stdin):
        if length == _NONE:
            fields.append(None)
        else:
            fields.append(payload[at:at + length])
            at += length + 1
    words = payload[at:].decode("utf-8", "surrogateescape").split("\0")[:-1] if (
        arguments or variables) else []
    if len(words) != arguments + variables:
        raise Bad("an EXECUTE of another shape")
    code, cell, stdin = fields
    return (number, count, code.decode("utf-8", "replace"),
            None if cell is None else cell.decode("utf-8", "replace"), stdin,
            words[:arguments] or None, words[arguments:] or None)


def _done(number, status, code, used):
    return _done_body.pack(number, _STATUSES.get(status, 1), code is not None, (code or 0) & 0xFF,
                           0, int(max(used, 0) * 1000), _usage())


def _run(session, channel, payload):
    number, count, source, cell, stdin, arguments, variables = _request(payload)
    before = _processor_time()
    channel.begin(number)
    try:
        status, code = session.execute(source, count, cell, stdin, arguments, variables)
    except BaseException as error:
        # The runner itself failed, or an interrupt came in its last instructions.
        channel.arm(False)
        interrupt = isinstance(error, KeyboardInterrupt)
        status, code = (5 if interrupt else 1), None
        channel.emit(4, _encode({
            "name": "KeyboardInterrupt" if interrupt else "RuntimeError",
            "value": "" if interrupt else "the cell runner failed: %s" % type(error).__name__,
            "traceback": []}))
    if _getpid() != channel._owner:
        _exit(0)  # a child that the code forked must not become a second worker
    channel.end()
    return _done(number, status, code, _processor_time() - before)


def _hold_memory():
    """What the code's objects say of themselves may take so much: more must fail there, not
    end the session by its memory limit. Gives what undoes it."""
    if resource is None:
        return lambda: None
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm") as statm:
            most = int(statm.read().split()[0]) * resource.getpagesize() + QUERY_MEMORY
    except (OSError, ValueError):
        return lambda: None
    if before[0] == resource.RLIM_INFINITY or most < before[0]:
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, before)


def _ask(session, channel, name, arguments):
    """The reply to a query, as JSON text, or why there is none."""
    try:
        reply = session.query(name, arguments)
    except BaseException as error:
        channel.arm(False)
        interrupt = isinstance(error, KeyboardInterrupt)
        return None, "it was interrupted" if interrupt else "it failed: %s" % type(error).__name__
    return reply, "this backend does not know such a query"


def _answer(session, channel, payload):
    query = _decode(payload.decode())
    number = query["id"]
    release = _hold_memory()
    channel.ask(number)
    try:
        reply, error = _ask(session, channel, query["name"], _encode(query["arguments"]))
    finally:
        release()
    if _getpid() != channel._owner:
        _exit(0)
    channel.answered()
    if reply is not None:
        text = ('{"id":%d,"reply":%s}' % (number, reply)).encode("utf-8", "replace")
        if len(text) <= REPLY_MAX:
            return text
        error = "the reply is longer than 4 MiB"
    return _encode({"id": number, "error": error}).encode()


def _carrier(options):
    """(source, target) of frames."""
    if options.get("carrier", "").strip() == "stdio":
        source, target = os.dup(0), os.dup(1)
    else:
        import socket

        path = options["socket"]
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(1)
        _write(1, b"listening\n")
        connection, _ = listener.accept()
        os.unlink(path)
        listener.close()
        source = target = connection.detach()
    os.set_inheritable(source, False)
    os.set_inheritable(target, False)
    return source, target


def _main():
    options = dict(line.split("=", 1) for line in parts["options"].decode().splitlines() if line)
    frames = Frames(*_carrier(options))
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    log = os.dup(2)  # the engine's; what the code writes to its stderr goes elsewhere
    _LOG[0] = log
    outputs = Outputs(frames)
    channel = Channel(frames, outputs, options, log)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for folder in os.environ.get("PYTHONPATH", "").split(":"):
        if folder and folder not in sys.path:
            sys.path.append(folder)
    try:
        sys.modules["__main__"] = type(sys)("__main__")  # the code's; boot.py's goes
        session = _load(channel)
        session.preload()
        session.start()
    except BaseException as error:
        frames.send(FAILED, ("the session could not be started: %s: %s"
                             % (type(error).__name__, error)).encode("utf-8", "replace")[:4000])
        _exit(1)
    outputs.start()
    signal.signal(signal.SIGINT, channel._on_sigint)
    frames.send(READY, b"")
    while True:
        frame = frames.receive()
        if frame is None:
            _exit(0)
        kind, payload = frame
        if kind == EXECUTE:
            frames.send(DONE, _run(session, channel, payload))
        elif kind == QUERY:
            frames.send(REPLY, _answer(session, channel, payload))


try:
    _main()
except BaseException:
    import traceback

    traceback.print_exc(file=open(_LOG[0], "w", closefd=False))
    _exit(1)
