"""get_ipython().display_formatter: functions that the code registers to show values of a
type. Loaded when code asks for it; until then display.py looks for methods alone.
`session` is session.py."""

_METHODS = {
    "text/plain": "_repr_pretty_", "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_", "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_", "application/pdf": "_repr_pdf_", "image/jpeg": "_repr_jpeg_",
    "text/latex": "_repr_latex_", "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}


class Formatter:
    """Functions by type for one MIME type."""

    def __init__(self, mime, method):
        self.format_type, self.print_method = mime, method
        self.enabled = True
        self.type_printers, self.deferred_printers, self.singleton_printers = {}, {}, {}

    def _noticed(self, kind):
        """Numbers and bytes have a way of their own in session.py."""
        runner = session.displayhook.__globals__
        runner["_scalars"] = runner["_scalars"] - {kind}

    def for_type(self, typ, func=None):
        """What showed values of the type before; a type by name need not be there yet."""
        if isinstance(typ, str):
            module, _, name = typ.rpartition(".")
            return self.for_type_by_name(module, name, func)
        try:
            before = self.lookup_by_type(typ)
        except KeyError:
            before = None
        if func is not None:
            self.type_printers[typ] = func
            self._noticed(typ)
        return before

    def for_type_by_name(self, type_module, type_name, func=None):
        key = (type_module, type_name)
        before = self.deferred_printers.get(key)
        if func is not None:
            self.deferred_printers[key] = func
        return before

    def lookup_by_type(self, typ):
        if isinstance(typ, str):
            return self.deferred_printers[tuple(typ.rpartition(".")[::2])]
        for kind in session.part("pretty")._mro(typ):
            if kind in self.type_printers:
                return self.type_printers[kind]
            key = (kind.__dict__.get("__module__"), kind.__name__)
            if key in self.deferred_printers:
                return self.deferred_printers[key]
        raise KeyError("No registered printer for %r" % (typ,))

    def lookup(self, obj):
        if id(obj) in self.singleton_printers:
            return self.singleton_printers[id(obj)]
        return self.lookup_by_type(type(obj))

    def pop(self, typ, *default):
        if isinstance(typ, str):
            return self.deferred_printers.pop(tuple(typ.rpartition(".")[::2]), *default)
        if typ in self.type_printers or not default:
            return self.type_printers.pop(typ)
        key = (getattr(typ, "__module__", None), getattr(typ, "__name__", None))
        return self.deferred_printers.pop(key, *default)

    def __contains__(self, typ):
        try:
            self.lookup_by_type(typ)
        except KeyError:
            return False
        return True

    def __call__(self, obj):
        """What a registered function gives, or else the object's own method."""
        display = session.part("display")
        try:
            function = self.lookup(obj)
        except KeyError:
            method = display._method(obj, self.print_method)
            return None if method is None else display._call(method)
        return display._call(lambda: function(obj))


class PlainFormatter(Formatter):
    """text/plain: functions of (value, printer, cycle), kept where the printer looks."""

    float_format = "%r"

    def __init__(self):
        Formatter.__init__(self, "text/plain", "_repr_pretty_")
        pretty = session.part("pretty")
        self.type_printers, self.deferred_printers = pretty._printers, pretty._printers_by_name

    @property
    def float_precision(self):
        return self.float_format

    @float_precision.setter
    def float_precision(self, value):
        """Digits, or a format such as %.3e; empty: as Python prints them."""
        text = str(value).strip()
        if text and not text.isdigit():
            try:
                text % 3.14159
            except Exception:
                raise ValueError("Precision must be int or format string, not %r" % text)
        self.float_format = "%%.%sf" % text if text.isdigit() else text or "%r"
        self.for_type(float, lambda value, printer, cycle: printer.text(
            self.float_format % value))

    def __call__(self, obj):
        return session.part("display").plain(obj)


class DisplayFormatter:
    def __init__(self):
        self.formatters = {mime: PlainFormatter() if mime == "text/plain" else
                           Formatter(mime, method) for mime, method in _METHODS.items()}
        self.mimebundle_formatter = Formatter("", "_repr_mimebundle_")
        self.ipython_display_formatter = Formatter("", "_ipython_display_")
        self.active_types = list(self.formatters)

    @property
    def format_types(self):
        return list(self.formatters)

    def format(self, obj, include=None, exclude=None):
        display = session.part("display")
        if display.shows_itself(obj):
            return {}, {}
        return display.bundle(obj, include, exclude)


display_formatter = DisplayFormatter()


def registered(mime, value):
    """The function that the code registered for values like this one, or None."""
    formatter = display_formatter.formatters.get(mime)
    if formatter is None:
        formatter = {"mimebundle": display_formatter.mimebundle_formatter,
                     "display": display_formatter.ipython_display_formatter}.get(mime)
    if formatter is None:
        return None
    try:
        return formatter.lookup(value)
    except KeyError:
        return None


def enabled(mime):
    formatter = display_formatter.formatters.get(mime)
    return (formatter is None or formatter.enabled) and (
        mime in display_formatter.active_types or formatter is None)
