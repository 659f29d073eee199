"""`from kiln import native`: the C functions that the configuration exposes to code.

    native.crc32(0, b"...")         [native crc32]
    native.zlib.crc32(0, b"...")    [native zlib.crc32]

A call leaves the sandbox: it passes the policies' on_call and runs in a helper process
elsewhere. The codec is that of engine/native/value.h."""
import _struct as _struct_module

_pack, _unpack = _struct_module.pack, _struct_module.unpack_from
_DEPTH, _COUNT = 8, 1 << 20


class Error(RuntimeError):
    """A call that failed; `name` says how: NativeCrashed, NativeTimeout, ..."""

    def __init__(self, name, text):
        super().__init__("%s: %s" % (name, text))
        self.name = name


class TypeError_(Error, TypeError):
    pass


class OverflowError_(Error, OverflowError):
    pass


class DeniedError(Error, PermissionError):
    pass


class TimeoutError_(Error, TimeoutError):
    pass


class UnknownError(Error, AttributeError):
    pass


_kinds = {"NativeType": TypeError_, "NativeOverflow": OverflowError_, "NativeDenied": DeniedError,
          "NativeTimeout": TimeoutError_, "NativeUnknown": UnknownError}
for _kind in (TypeError_, OverflowError_, TimeoutError_):
    _kind.__name__ = _kind.__qualname__ = _kind.__name__.rstrip("_")
for _kind in (Error, *_kinds.values()):
    _kind.__module__ = "kiln.native"


def _fail(name, text):
    return _kinds.get(name, Error)(name, text)


def _encode(out, value, depth=0):
    if value is None:
        out.append(b"\0")
    elif value is True or value is False:
        out.append(b"\2" if value else b"\1")
    elif isinstance(value, int):
        value = int(value)
        if -(1 << 63) <= value < 1 << 63:
            out.append(_pack("<Bq", 3, value))
        elif 0 <= value < 1 << 64:
            out.append(_pack("<BQ", 4, value))
        else:
            raise _fail("NativeOverflow", "an integer of more than 64 bits")
    elif isinstance(value, float):
        out.append(_pack("<Bd", 5, value))
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        out.append(_pack("<BI", 6, len(data)))
        out.append(data)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        out.append(_pack("<BI", 7, len(data)))
        out.append(data)
    elif depth < _DEPTH and (isinstance(value, (list, tuple, range)) or hasattr(value, "tolist")):
        if hasattr(value, "tolist"):  # array.array, numpy
            return _encode(out, value.tolist(), depth)
        if len(value) > _COUNT:
            raise _fail("NativeOverflow", "a list of more than 1048576 values")
        out.append(_pack("<BI", 8, len(value)))
        for item in value:
            _encode(out, item, depth + 1)
    elif callable(value):
        raise _fail("NativeType", "a function can be given by a policy only")
    else:
        raise _fail("NativeType", "%s cannot be given to C" % type(value).__name__)


def _decode(data, at):
    """(value, where the next begins). The engine is trusted."""
    tag = data[at]
    at += 1
    if tag < 3:
        return (None, False, True)[tag], at
    if tag < 6:
        return _unpack(("<q", "<Q", "<d")[tag - 3], data, at)[0], at + 8
    size = _unpack("<I", data, at)[0]
    at += 4
    if tag < 8:
        piece = bytes(data[at:at + size])
        return piece.decode("utf-8", "replace") if tag == 6 else piece, at + size
    items = []
    for _ in range(size):
        item, at = _decode(data, at)
        items.append(item)
    return items, at


def _call(name, arguments):
    out = []
    _encode(out, ["native", name, []])
    out[-1] = _pack("<BI", 8, len(arguments))
    for value in arguments:
        _encode(out, value, 2)
    request = b"".join(out)
    if len(request) > 16 << 20:
        raise _fail("NativeError", "the arguments are more than 16 MiB")
    call = getattr(session.channel, "call", None)
    if call is None:
        raise _fail("NativeError", "nobody can be called from here")
    answer = _decode(call(request), 0)[0]
    if not answer[0]:
        raise _fail(answer[1] or "NativeError", answer[2] or "the results are more than 16 MiB")
    results = answer[1]
    return None if not results else results[0] if len(results) == 1 else tuple(results)


class Function:
    """One name; that there is such a function shows when it is called."""

    __slots__ = ("_name",)

    def __init__(self, name):
        self._name = name

    def __call__(self, *arguments):
        return _call(self._name, arguments)

    def __getattr__(self, name):
        if name[:1] == "_" or "." in self._name:
            raise AttributeError(name)
        return Function(self._name + "." + name)

    def __repr__(self):
        return "<native function %s>" % self._name


def make_module():
    module = type(_struct_module)("kiln.native", __doc__)

    def lookup(name):
        if name[:1] == "_":
            raise AttributeError(name)
        return Function(name)

    module.__getattr__ = lookup
    module.Error = Error
    return module
