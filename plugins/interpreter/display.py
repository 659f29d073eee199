"""Values as MIME bundles, and the display events. `session` is session.py.

A bundle is what Jupyter calls one: {MIME type: value}, binary values in base64,
and metadata by MIME type."""
import sys

FRAME_MAX = 30 << 20  # bytes of one event's JSON; a worker frame's bound is 32 MB
_DEPTH_MAX = 200  # of JSON that a _repr_json_ gives
_PENDING_MAX = 1000  # displays of threads while no cell runs

_METHODS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("application/pdf", "_repr_pdf_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)

_BOUND = type(session.__getattr__)  # of a method

# ------------------------------------------------------------------------ JSON

_encoder = None


def _make_encoder():
    try:
        # The json package's C half alone: the rest of it costs 4 ms to import.
        native = session.library("_json")
        make = native.c_make_encoder(None, None, native.encode_basestring_ascii, None,
                                     ":", ",", False, False, False)
        return lambda value: "".join(make(value, 0))
    except (ImportError, AttributeError, TypeError):
        return session.library("json").JSONEncoder(
            separators=(",", ":"), allow_nan=False, check_circular=False).encode


def _clean_text(text):
    """UTF-8 must hold it: pairs of surrogates are joined, lone ones and NUL become
    U+FFFD."""
    if type(text) is not str:
        text = str.__str__(text)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _clean(value, depth=0):
    """A value that every JSON reader takes: strings as keys, no NaN, integers of 64
    bits."""
    kind = type(value)
    if kind is str:
        return _clean_text(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, int):
        value = int(value)
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if isinstance(value, float):
        value = float(value)
        return value if value - value == 0 else None
    if depth > _DEPTH_MAX:
        raise ValueError("JSON is nested deeper than %d" % _DEPTH_MAX)
    if isinstance(value, dict):
        return {_clean_text(key if isinstance(key, str) else str(key)):
                _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _base64(value)
    for name in ("item", "tolist"):  # numpy's scalars and arrays
        convert = getattr(value, name, None)
        if convert is not None:
            try:
                return _clean(convert(), depth + 1)
            except (TypeError, ValueError):
                continue
    raise TypeError("%s is not JSON" % kind.__name__)


def encode(value):
    global _encoder
    if _encoder is None:
        _encoder = _make_encoder()
    return _encoder(_clean(value))


def _base64(data):
    return session.library("binascii").b2a_base64(data, newline=False).decode("ascii")


# --------------------------------------------------------------------- bundles


def _method(value, name):
    """A _repr_*_ method of the value; of a class one that is its own and not its objects', and
    none of an object that answers to every name."""
    try:
        if getattr(value, "_ipython_canary_method_should_not_exist_", None) is not None:
            if name not in dir(type(value)):
                return None
        method = getattr(value, name, None)
    except Exception:
        return None
    if isinstance(value, type) and type(method) is not _BOUND:
        return None
    return method if callable(method) else None


def _call(method, **arguments):
    """What the method gives; None, and its traceback on stderr, when it raises."""
    try:
        return method(**arguments)
    except NotImplementedError:
        return None
    except Exception as error:
        session.part("tracebacks").report_to_stderr(error)
        return None


def _split(result):
    """A method may give (data, metadata)."""
    if isinstance(result, tuple) and len(result) == 2:
        return result
    return result, None


def _convert(value):
    return _base64(value) if isinstance(value, (bytes, bytearray, memoryview)) else value


def plain(value):
    try:
        return session.part("pretty").pretty(value)
    except Exception as error:
        session.part("tracebacks").report_to_stderr(error)
        return None


def _own_bundle(value, formatters, include, exclude):
    """_repr_mimebundle_, or what the code registered in its place."""
    function = formatters and formatters.registered("mimebundle", value)
    if function:
        answer = _call(lambda: function(value, include=include, exclude=exclude))
    else:
        method = _method(value, "_repr_mimebundle_")
        if method is None:
            return {}, {}
        answer = _call(method, include=include, exclude=exclude)
    own, metadata = _split(answer)
    own = own if isinstance(own, dict) else {}
    return ({mime: _convert(item) for mime, item in own.items() if item is not None},
            dict(metadata) if isinstance(metadata, dict) else {})


def _rich(value, formatters, wanted, data, metadata):
    """Adds what the _repr_*_ methods give, and functions that the code registered."""
    figures = session.part("figures") if "matplotlib.figure" in sys.modules else None
    if figures is not None and figures.is_figure(value):
        for mime, item, item_metadata in _call(lambda: figures.pictures(value, wanted)) or ():
            if mime not in data:
                data[mime] = _convert(item)
                if item_metadata:
                    metadata[mime] = item_metadata
    for mime, name in _METHODS:
        if not wanted(mime):
            continue
        function = formatters and formatters.registered(mime, value)
        if function:
            item, item_metadata = _split(_call(lambda: function(value)))
        elif mime in data:
            continue
        else:
            method = _method(value, name)
            if method is None:
                continue
            item, item_metadata = _split(_call(method))
        if item is None:
            continue
        data[mime] = _convert(item)
        if item_metadata:
            metadata[mime] = item_metadata


def bundle(value, include=None, exclude=None):
    """({MIME type: value}, metadata)"""
    formatters = session._parts.get("formatters")

    def wanted(mime):
        return (not include or mime in include) and not (exclude and mime in exclude) and (
            formatters is None or formatters.enabled(mime))

    data, metadata = {}, {}
    if formatters is not None or type(value).__module__ != "builtins":
        data, metadata = _own_bundle(value, formatters, include, exclude)
        data = {mime: item for mime, item in data.items() if wanted(mime)}
        _rich(value, formatters, wanted, data, metadata)
    if "text/plain" not in data and wanted("text/plain"):
        text = plain(value)
        if text is not None:
            data = dict({"text/plain": text}, **data)
    return data, metadata


def shows_itself(value):
    """_ipython_display_: the object displays itself, by print or display()."""
    formatters = session._parts.get("formatters")
    function = formatters and formatters.registered("display", value)
    if function:
        method = lambda: function(value)  # noqa: E731
    elif type(value).__module__ == "builtins":
        return False
    else:
        method = _method(value, "_ipython_display_")
    if method is None:
        return False
    try:
        method()
    except NotImplementedError:
        return False
    except Exception as error:
        session.part("tracebacks").report_to_stderr(error)
    return True


def result(value):
    """The event for a cell's value as JSON text; None when there is none."""
    if shows_itself(value):
        return None
    data, metadata = bundle(value)
    return _fit(data, metadata, None) if data else None


def _fit(data, metadata, transient):
    """The event's JSON, without the entries that are too large for a frame."""
    event = {"data": data, "metadata": metadata or {}}
    if transient:
        event["transient"] = transient
    text = encode(event)
    if len(text) <= FRAME_MAX:
        return text
    kept = {}
    for mime, item in sorted(data.items(), key=lambda entry: len(encode(entry[1]))):
        trial = dict(kept, **{mime: item})
        size = len(encode(trial))
        if size > FRAME_MAX - 65536:
            session.stderr.write("display: %s left out: %d bytes are more than the %d of one "
                                 "output\n" % (mime, size, FRAME_MAX))
        else:
            kept = trial
    event["data"] = kept
    event["metadata"] = {}
    return encode(event)


# --------------------------------------------------------------------- display

_pending = []
publisher = None  # what takes the displays in the place of the channel: %%capture


def publish(data, metadata=None, transient=None, update=False):
    """One display event."""
    if publisher is not None:
        publisher.publish(data, metadata, transient=transient, update=update)
        return
    if not isinstance(data, dict):
        raise TypeError("data must be a dict, got: %r" % (data,))
    if metadata is not None and not isinstance(metadata, dict):
        raise TypeError("metadata must be a dict, got: %r" % (metadata,))
    data = {mime: _convert(item) for mime, item in data.items()}
    text = _fit(data, metadata, transient)
    kind = session.UPDATE if update else session.DISPLAY
    while _pending and session.channel.emit(*_pending[0]):
        del _pending[0]
    # A thread that displays between two cells is heard in the next.
    if not session.channel.emit(kind, text) and len(_pending) < _PENDING_MAX:
        _pending.append((kind, text))


class RichOutput:
    """A display that was captured; shows itself again."""

    def __init__(self, data=None, metadata=None, transient=None, update=False):
        self.data, self.metadata = data or {}, metadata or {}
        self.transient, self.update = transient or {}, update

    def display(self):
        publish(self.data, self.metadata, self.transient, self.update)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.data, self.metadata


class Capture:
    """Takes the displays of a `with` block, and the value of its cell."""

    def __init__(self):
        self.outputs = []

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **more):
        self.outputs.append(RichOutput(data, metadata, transient, update))

    def clear_output(self, wait=False):
        del self.outputs[:]

    def value(self, value):
        """In the place of sys.displayhook."""
        if value is None:
            return
        session._remember(value)
        if not shows_itself(value):
            self.outputs.append(RichOutput(*bundle(value)))

    def __enter__(self):
        global publisher
        self._before, publisher = publisher, self
        return self

    def __exit__(self, *error):
        global publisher
        publisher = self._before


class DisplayHandle:
    """What display(..., display_id=...) gives, to update that display later."""

    def __init__(self, display_id=None):
        self.display_id = display_id or new_display_id()

    def display(self, obj, **options):
        display(obj, display_id=self.display_id, **options)

    def update(self, obj, **options):
        update_display(obj, display_id=self.display_id, **options)

    def __repr__(self):
        return "<DisplayHandle display_id=%s>" % self.display_id


def new_display_id():
    return session.library("binascii").b2a_hex(
        session.library("os").urandom(16)).decode("ascii")


def _merged(one, other):
    """Metadata, with what `other` says more of a MIME type."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return dict(one, **{key: _merged(one[key], value) if key in one else value
                        for key, value in other.items()})


def display(*objects, include=None, exclude=None, metadata=None, transient=None,
            display_id=None, raw=False, clear=False, update=False, **options):
    if clear:
        clear_output(wait=True)
    if display_id is True:
        display_id = new_display_id()
        handle = True
    else:
        handle = display_id is not None and not update
    transient = dict(transient or {})
    if display_id is not None:
        transient["display_id"] = str(display_id)
    elif update:
        raise TypeError("display_id required for update_display")
    if not objects and display_id is not None:
        objects, raw = ({},), True  # a place to be filled later
    for value in objects:
        if raw:
            data, own = value, {}
        else:
            if shows_itself(value):
                continue
            data, own = bundle(value, include, exclude)
            if not data:
                continue
        if metadata:
            own = _merged(own, metadata)
        publish(data, own, transient, update)
    return DisplayHandle(str(display_id)) if handle else None


def update_display(object, *, display_id, **options):
    display(object, display_id=display_id, update=True, **options)


def clear_output(wait=False):
    if publisher is not None:
        publisher.clear_output(wait)
    else:
        session.channel.emit(session.CLEAR, '{"wait":true}' if wait else '{"wait":false}')
