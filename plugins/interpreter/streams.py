"""sys.stdout and sys.stderr of a session. `session` is session.py."""
import io

channel = session.channel


class _Bytes(io.BufferedIOBase):
    """sys.stdout.buffer"""

    def __init__(self, stream):
        self._stream = stream

    mode = "wb"

    @property
    def name(self):
        return self._stream.name

    raw = property(lambda self: self)

    def writable(self):
        return True

    def fileno(self):
        return self._stream._number

    def isatty(self):
        return False

    def write(self, data):
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        return channel.stream(self._stream._open_number(), data)


class Stream(io.TextIOBase):
    """sys.stdout and sys.stderr: each write goes out at once."""

    __slots__ = ("_number", "_buffer")

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = True
    mode = "w"

    def __init__(self, number):
        self._number = number
        self._buffer = None

    @property
    def name(self):
        return "<stdout>" if self._number == 1 else "<stderr>"

    @property
    def buffer(self):
        if self._buffer is None:
            self._buffer = _Bytes(self)
        return self._buffer

    def _open_number(self):
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._number

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(
                "write() argument must be str, not %s" % type(text).__name__)
        return channel.stream(self._open_number(), text)

    def writable(self):
        return True

    def isatty(self):
        return False

    def fileno(self):
        return self._number

    def reconfigure(self, **settings):
        """Nothing to set: always UTF-8, always at once."""

    def __repr__(self):
        return "<kiln stream %s>" % self.name
