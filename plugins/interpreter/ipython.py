"""IPython.display: connected to the session where IPython is installed, stood in for
where it is not. IPython's shell is never started. `session` is session.py."""


def connect(module):
    """IPython.core.display_functions was imported: without a shell, its display()
    would print. IPython.display takes its names from there."""
    display = session.part("display")

    def publish_display_data(data, metadata=None, *, transient=None, update=False, **kwargs):
        display.publish(data, metadata, transient, update)

    def show(*objects, include=None, exclude=None, metadata=None, transient=None,
             display_id=None, raw=False, clear=False, **options):
        handle = display.display(
            *objects, include=include, exclude=exclude, metadata=metadata,
            transient=transient, display_id=display_id, raw=raw, clear=clear, **options)
        return module.DisplayHandle(handle.display_id) if handle else None

    show.__name__ = "display"
    module.publish_display_data = publish_display_data
    module.display = show
    module.update_display = display.update_display
    module.clear_output = display.clear_output


# ---------------------------------------------------------- where there is none


class DisplayObject:
    """A value that is shown as one MIME type; from data, a URL or a file."""

    mime = None
    binary = False

    def __init__(self, data=None, url=None, filename=None, metadata=None):
        if data is not None and hasattr(data, "__fspath__"):
            data, filename = None, data
        self.url = url
        self.filename = filename
        self.metadata = metadata or {}
        if data is None and filename is not None:
            with open(filename, "rb") as file:
                data = file.read()
            if not self.binary:
                data = data.decode("utf-8")
        self.data = data

    def _repr_mimebundle_(self, include=None, exclude=None):
        if self.data is None or self.mime is None:
            return None
        return {self.mime: self.data}, (
            {self.mime: self.metadata} if self.metadata else {})

    def __repr__(self):
        return "<IPython.core.display.%s object>" % type(self).__name__


class HTML(DisplayObject):
    mime = "text/html"


class Markdown(DisplayObject):
    mime = "text/markdown"


class Latex(DisplayObject):
    mime = "text/latex"


class Math(Latex):
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {self.mime: r"$\displaystyle %s$" % self.data.strip("$")}


class SVG(DisplayObject):
    mime = "image/svg+xml"


class Pretty(DisplayObject):
    mime = "text/plain"


class JSON(DisplayObject):
    mime = "application/json"

    def __init__(self, data=None, url=None, filename=None, expanded=False, metadata=None,
                 root="root", **kwargs):
        DisplayObject.__init__(self, data, url, filename, metadata)
        if isinstance(self.data, str):
            self.data = session.library("json").loads(self.data)
        self.metadata = dict(self.metadata, expanded=expanded, root=root, **kwargs)


class GeoJSON(JSON):
    mime = "application/geo+json"


class Javascript(DisplayObject):
    mime = "application/javascript"

    def __init__(self, data=None, url=None, filename=None, lib=None, css=None):
        DisplayObject.__init__(self, data, url, filename)


_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8", "image/jpeg"),
               (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


class Image(DisplayObject):
    binary = True

    def __init__(self, data=None, url=None, filename=None, format=None, embed=None,
                 width=None, height=None, retina=False, unconfined=False, metadata=None,
                 alt=None):
        if isinstance(data, str):
            if data.startswith(("http://", "https://")):
                data, url = None, data
            else:
                data, filename = None, data
        DisplayObject.__init__(self, data, url, filename, metadata)
        self.width, self.height, self.alt = width, height, alt
        self.mime = "image/" + {"jpg": "jpeg"}.get(format, format) if format else None
        if self.data is not None and self.mime is None:
            for start, mime in _SIGNATURES:
                if self.data.startswith(start):
                    self.mime = mime
        for name in ("width", "height", "alt"):
            if getattr(self, name) is not None:
                self.metadata = dict(self.metadata, **{name: getattr(self, name)})

    def _repr_mimebundle_(self, include=None, exclude=None):
        if self.data is None and self.url:
            escape = session.library("html").escape
            size = "".join(' %s="%s"' % (name, escape(str(getattr(self, name))))
                           for name in ("width", "height") if getattr(self, name) is not None)
            return {"text/html": '<img src="%s"%s/>' % (escape(self.url), size)}
        return DisplayObject._repr_mimebundle_(self)


class IFrame:
    def __init__(self, src, width, height, extras=None, **parameters):
        self.src, self.width, self.height, self.parameters = src, width, height, parameters

    def _repr_html_(self):
        query = session.library("urllib.parse").urlencode(self.parameters)
        source = session.library("html").escape(self.src + ("?" + query if query else ""))
        return ('<iframe width="%s" height="%s" src="%s" frameborder="0" allowfullscreen>'
                "</iframe>" % (self.width, self.height, source))


def supply(module):
    """Fills one of the stand-in modules."""
    name = module.__name__
    if name == "IPython":
        module.__path__ = []
        module.__version__ = "0"
        module.get_ipython = lambda: None
        module.display = __import__("IPython.display").display
        return
    if name == "IPython.core":
        module.__path__ = []
        return
    display = session.part("display")
    for one in (HTML, Markdown, Latex, Math, SVG, Pretty, JSON, GeoJSON, Javascript, Image,
                IFrame, DisplayObject, display.DisplayHandle):
        setattr(module, one.__name__, one)
        one.__module__ = name
    module.display = display.display
    module.update_display = display.update_display
    module.clear_output = display.clear_output
    module.publish_display_data = lambda data, metadata=None, *, transient=None, **options: (
        display.publish(data, metadata, transient))
    module.display_html = lambda *objects, **options: display.display(
        *objects, include=("text/html", "text/plain"), **options)
