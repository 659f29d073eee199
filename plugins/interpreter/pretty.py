"""text/plain of values, laid out as IPython lays it out: 79 columns, a group that
does not fit is broken at its separators.

The layout is Oppen's ("Prettyprinting", 1980) in the streaming form that Ruby's
prettyprint has. `session` is session.py. Printer is also what _repr_pretty_(p,
cycle) receives, with the methods that it may call in IPython."""
import sys

WIDTH = 79
SEQUENCE_MAX = 1000  # elements of one container that are shown


class _Text:
    __slots__ = ("pieces", "width")

    def __init__(self):
        self.pieces = []
        self.width = 0

    def output(self, printer, column):
        printer._out.extend(self.pieces)
        return column + self.width


class _Group:
    __slots__ = ("depth", "breakables", "broken")

    def __init__(self, depth):
        self.depth = depth
        self.breakables = []
        self.broken = False


class _Breakable:
    __slots__ = ("text", "width", "group", "indentation")

    def __init__(self, text, printer):
        self.text = text
        self.width = len(text)
        self.group = printer._groups[-1]
        self.indentation = printer.indentation
        self.group.breakables.append(self)

    def output(self, printer, column):
        self.group.breakables.pop(0)
        if self.group.broken:
            printer._out.append("\n" + " " * self.indentation)
            return self.indentation
        if not self.group.breakables:
            printer._forget(self.group)
        printer._out.append(self.text)
        return column + self.width


class Printer:
    """Collects text and places where it may be broken."""

    verbose = False
    newline = "\n"

    def __init__(self, max_width=WIDTH, max_seq_length=SEQUENCE_MAX):
        self.max_width = max_width
        self.max_seq_length = max_seq_length
        self.stack = []
        self.indentation = 0
        self._out = []
        self._column = 0  # of what is put out
        self._buffer = []  # not yet put out: its breaks are undecided
        self._buffered = 0  # its width
        root = _Group(0)
        self._groups = [root]
        self._queue = [[root]]  # groups by depth that may still be broken

    # ---- the layout

    def _next_group(self):
        for groups in self._queue:
            for index, group in enumerate(reversed(groups)):
                if group.breakables:
                    del groups[index]  # counted from the other end, as IPython does
                    group.broken = True
                    return group
            for group in groups:
                group.broken = True
            del groups[:]
        return None

    def _forget(self, group):
        try:
            self._queue[group.depth].remove(group)
        except ValueError:
            pass

    def _break_outer(self):
        while self.max_width < self._column + self._buffered:
            group = self._next_group()
            if group is None:
                return
            self._break(group)

    def _break(self, group):
        while group.breakables:
            self._put_first()
        while self._buffer and isinstance(self._buffer[0], _Text):
            self._put_first()

    def _put_first(self):
        piece = self._buffer.pop(0)
        self._column = piece.output(self, self._column)
        self._buffered -= piece.width

    def text(self, text):
        width = len(text)
        if self._buffer:
            last = self._buffer[-1]
            if not isinstance(last, _Text):
                last = _Text()
                self._buffer.append(last)
            last.pieces.append(text)
            last.width += width
            self._buffered += width
            self._break_outer()
        else:
            self._out.append(text)
            self._column += width

    def breakable(self, sep=" "):
        group = self._groups[-1]
        if group.broken:
            self.flush()
            self._out.append("\n" + " " * self.indentation)
            self._column = self.indentation
            self._buffered = 0
        else:
            self._buffer.append(_Breakable(sep, self))
            self._buffered += len(sep)
            self._break_outer()

    def break_(self):
        group = self._next_group()
        if group is not None:
            self._break(group)
        self.flush()
        self._out.append("\n" + " " * self.indentation)
        self._column = self.indentation
        self._buffered = 0

    def flush(self):
        for piece in self._buffer:
            self._column = piece.output(self, self._column)
        del self._buffer[:]
        self._buffered = 0

    def begin_group(self, indent=0, open=""):
        if open:
            self.text(open)
        group = _Group(self._groups[-1].depth + 1)
        self._groups.append(group)
        while len(self._queue) <= group.depth:
            self._queue.append([])
        self._queue[group.depth].append(group)
        self.indentation += indent

    def end_group(self, dedent=0, close=""):
        self.indentation -= dedent
        group = self._groups.pop()
        if not group.breakables:
            self._forget(group)
        if close:
            self.text(close)

    def group(self, indent=0, open="", close=""):
        return _Bracket(self, indent, open, close)

    def indent(self, indent):
        return _Indent(self, indent)

    def getvalue(self):
        self.flush()
        return "".join(self._out)

    # ---- values

    def _enumerate(self, sequence):
        for index, item in enumerate(sequence):
            if self.max_seq_length and index >= self.max_seq_length:
                self.text(",")
                self.breakable()
                self.text("...")
                return
            yield index, item

    def pretty(self, value):
        key = id(value)
        cycle = key in self.stack
        self.stack.append(key)
        self.begin_group()
        try:
            kind = _safe_attribute(value, "__class__", None) or type(value)
            for base in _mro(kind):
                function = _printers.get(base)
                if function is None:
                    function = _printers_by_name.get(
                        (_safe_attribute(base, "__module__", None), base.__name__))
                if function is not None:
                    return function(value, self, cycle)
                method = base.__dict__.get("_repr_pretty_")
                if callable(method):
                    return method(value, self, cycle)
                if base is not object and callable(base.__dict__.get("__repr__")):
                    return _by_repr(value, self, cycle)
            return _by_default(value, self, cycle)
        finally:
            self.end_group()
            self.stack.pop()


class _Bracket:
    def __init__(self, printer, indent, open, close):
        self._printer, self._indent, self._open, self._close = printer, indent, open, close

    def __enter__(self):
        self._printer.begin_group(self._indent, self._open)

    def __exit__(self, *error):
        self._printer.end_group(self._indent, self._close)


class _Indent:
    def __init__(self, printer, indent):
        self._printer, self._indent = printer, indent

    def __enter__(self):
        self._printer.indentation += self._indent

    def __exit__(self, *error):
        self._printer.indentation -= self._indent


def _safe_attribute(value, name, default):
    try:
        return getattr(value, name)
    except Exception:
        return default


def _mro(kind):
    try:
        return kind.__mro__
    except AttributeError:
        return (object,)


def _by_repr(value, p, cycle):
    lines = repr(value).splitlines()
    with p.group():
        for index, line in enumerate(lines):
            if index:
                p.break_()
            p.text(line)


def _by_default(value, p, cycle):
    kind = _safe_attribute(value, "__class__", None) or type(value)
    if _safe_attribute(kind, "__repr__", None) is not object.__repr__:
        return _by_repr(value, p, cycle)
    p.begin_group(1, "<")
    p.pretty(kind)
    p.text(" at 0x%x" % id(value))
    if cycle:
        p.text(" ...")
    p.end_group(1, ">")


def _sequence(start, end):
    def show(value, p, cycle):
        if cycle:
            return p.text(start + "..." + end)
        p.begin_group(len(start), start)
        for index, item in p._enumerate(value):
            if index:
                p.text(",")
                p.breakable()
            p.pretty(item)
        if len(value) == 1 and isinstance(value, tuple):
            p.text(",")
        p.end_group(len(start), end)

    return show


def _sorted(items):
    items = list(items)
    try:
        return sorted(items)
    except Exception:
        try:
            return sorted(items, key=str)
        except Exception:
            return items


def _set(start, end):
    def show(value, p, cycle):
        if cycle:
            return p.text(start + "..." + end)
        if not value:
            return p.text(type(value).__name__ + "()")
        p.begin_group(len(start), start)
        items = value
        if not (p.max_seq_length and len(value) >= p.max_seq_length):
            items = _sorted(value)
        for index, item in p._enumerate(items):
            if index:
                p.text(",")
                p.breakable()
            p.pretty(item)
        p.end_group(len(start), end)

    return show


def _mapping(start, end):
    def show(value, p, cycle):
        if cycle:
            return p.text("{...}")
        p.begin_group(len(start), start)
        for index, key in p._enumerate(value.keys()):
            if index:
                p.text(",")
                p.breakable()
            p.pretty(key)
            p.text(": ")
            p.pretty(value[key])
        p.end_group(len(start), end)

    return show


def _super(value, p, cycle):
    p.begin_group(8, "<super: ")
    p.pretty(value.__thisclass__)
    p.text(",")
    p.breakable()
    p.pretty(value.__self__)
    p.end_group(8, ">")


_PATTERN_FLAGS = ("TEMPLATE", "IGNORECASE", "LOCALE", "MULTILINE", "DOTALL", "UNICODE",
                  "VERBOSE", "DEBUG")


def _pattern(value, p, cycle):
    re = sys.modules["re"]
    start = "re.compile("
    p.begin_group(len(start), start)
    p.text("r" + repr(value.pattern).replace("\\\\", "\\"))
    if value.flags:
        p.text(",")
        p.breakable()
        p.text("|".join("re." + name for name in _PATTERN_FLAGS
                        if value.flags & getattr(re, name, 0)))
    p.end_group(len(start), ")")


def _type(value, p, cycle):
    for base in _mro(type(value)):
        if "__repr__" in vars(base):
            if base is not type:
                return _by_repr(value, p, cycle)
            break
    module = _safe_attribute(value, "__module__", None)
    try:
        name = value.__qualname__
        if not isinstance(name, str):
            raise TypeError
    except Exception:
        name = value.__name__
        if not isinstance(name, str):
            name = "<unknown type>"
    if module in (None, "__builtin__", "builtins", "exceptions"):
        p.text(name)
    else:
        p.text(module + "." + name)


def _function(value, p, cycle):
    name = _safe_attribute(value, "__qualname__", value.__name__)
    module = value.__module__
    if module and module not in ("__builtin__", "builtins", "exceptions"):
        name = module + "." + name
    try:
        text = name + str(session.library("inspect").signature(value))
    except ValueError:
        text = name
    p.text("<function %s>" % text)


def _exception(value, p, cycle):
    name = _safe_attribute(value.__class__, "__qualname__", value.__class__.__name__)
    if value.__class__.__module__ not in ("exceptions", "builtins"):
        name = "%s.%s" % (value.__class__.__module__, name)
    indent = len(name) + 1
    p.begin_group(indent, name + "(")
    for index, argument in enumerate(_safe_attribute(value, "args", ())):
        if index:
            p.text(",")
            p.breakable()
        p.pretty(argument)
    p.end_group(indent, ")")


def _call(p, value, *arguments, **keywords):
    """Name(a, b, key=c)"""
    name = type(value).__name__ + "("
    p.begin_group(len(name), name)
    first = True
    for argument in arguments:
        if not first:
            p.text(",")
            p.breakable()
        p.pretty(argument)
        first = False
    for key, argument in keywords.items():
        if not first:
            p.text(",")
            p.breakable()
        prefix = key + "="
        p.begin_group(len(prefix), prefix)
        p.pretty(argument)
        p.end_group(len(prefix))
        first = False
    p.end_group(len(name), ")")


class _Raw:
    def __init__(self, text):
        self._text = text

    def _repr_pretty_(self, p, cycle):
        p.text(self._text)


def _cyclic(p, value):
    _call(p, value, _Raw("..."))


def _defaultdict(value, p, cycle):
    if cycle:
        return _cyclic(p, value)
    _call(p, value, value.default_factory, dict(value))


def _ordered(value, p, cycle):
    if cycle:
        return _cyclic(p, value)
    if value:
        _call(p, value, list(value.items()))
    else:
        _call(p, value)


def _deque(value, p, cycle):
    if cycle:
        return _cyclic(p, value)
    if value.maxlen is not None:
        _call(p, value, list(value), maxlen=value.maxlen)
    else:
        _call(p, value, list(value))


def _counter(value, p, cycle):
    if cycle:
        return _cyclic(p, value)
    if value:
        _call(p, value, dict(value))
    else:
        _call(p, value)


def _user_list(value, p, cycle):
    if cycle:
        return _cyclic(p, value)
    _call(p, value, value.data)


def _namespace(value, p, cycle):
    start = "namespace("
    p.begin_group(len(start), start)
    if cycle:
        p.text("...")
    else:
        for index, (key, item) in enumerate(value.__dict__.items()):
            if index:
                p.text(",")
                p.breakable()
            prefix = key + "="
            p.begin_group(len(prefix), prefix)
            p.pretty(item)
            p.end_group(len(prefix))
    p.end_group(len(start), ")")


_printers = {
    int: _by_repr,
    float: _by_repr,
    str: _by_repr,
    tuple: _sequence("(", ")"),
    list: _sequence("[", "]"),
    dict: _mapping("{", "}"),
    set: _set("{", "}"),
    frozenset: _set("frozenset({", "})"),
    super: _super,
    type: _type,
    type(_type): _function,
    type(len): _function,
    type(Printer().text): _by_repr,
    slice: _by_repr,
    range: _by_repr,
    bytes: _by_repr,
    BaseException: _exception,
    type(type.__dict__): _mapping("mappingproxy({", "})"),
    type(sys.implementation): _namespace,
}
_printers_by_name = {
    ("re", "Pattern"): _pattern,
    ("datetime", "datetime"): _by_repr,
    ("datetime", "timedelta"): _by_repr,
    ("collections", "defaultdict"): _defaultdict,
    ("collections", "OrderedDict"): _ordered,
    ("collections", "deque"): _deque,
    ("collections", "Counter"): _counter,
    ("collections", "UserList"): _user_list,
    ("os", "_Environ"): _mapping("environ{", "}"),
}


def pretty(value):
    printer = Printer()
    printer.pretty(value)
    printer.flush()
    return printer.getvalue()
