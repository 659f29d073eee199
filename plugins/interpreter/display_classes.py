"""IPython.display's classes where there is no IPython: the same MIME types, metadata and
markup, by the same arguments. `session` is session.py."""
import sys


def _library(name):
    return session.library(name)


def _path(value):
    return value.__fspath__() if hasattr(value, "__fspath__") else value


def _exists(name):
    try:
        return _library("os").path.exists(name)
    except Exception:
        return False


def _fetch(url):
    """The bytes at a URL; decoded, where the answer names its encoding."""
    with _library("urllib.request").urlopen(url) as answer:
        data, charset = answer.read(), answer.headers.get_content_charset()
    return data.decode(charset, "replace") if charset else data


class DisplayObject:
    """A value that is shown as one MIME type; from data, a URL or a file."""

    metadata = None
    _binary = False

    def __init__(self, data=None, url=None, filename=None, metadata=None):
        data = _path(data)
        if isinstance(data, str):
            if data.startswith("http") and url is None:
                data, url, filename = None, data, None
            elif filename is None and _exists(data):
                data, url, filename = None, None, data
        self.url, self.filename = url, filename
        self.data = data
        self.metadata = metadata if metadata is not None else self.metadata or {}
        self.reload()
        self._check_data()

    def reload(self):
        """Reads the file, or fetches the URL."""
        if self.filename is not None:
            with open(self.filename, "rb") as file:
                data = file.read()
            self.data = data if self._binary else data.decode("utf-8")
        elif self.url is not None:
            self.data = _fetch(self.url)

    def _check_data(self):
        """Raises TypeError for data that is not of the class's kind."""

    def _data_and_metadata(self):
        return (self.data, dict(self.metadata)) if self.metadata else self.data

    def __repr__(self):
        return "<%s.%s object>" % (type(self).__module__, type(self).__name__)


class TextDisplayObject(DisplayObject):
    def _check_data(self):
        if self.data is not None and not isinstance(self.data, str):
            raise TypeError("%s expects text, not %r" % (type(self).__name__, self.data))


class Pretty(TextDisplayObject):
    def _repr_pretty_(self, printer, cycle):
        return printer.text(self.data)


class HTML(TextDisplayObject):
    def _repr_html_(self):
        return self._data_and_metadata()

    __html__ = _repr_html_


class Markdown(TextDisplayObject):
    def _repr_markdown_(self):
        return self._data_and_metadata()


class Latex(TextDisplayObject):
    def _repr_latex_(self):
        return self._data_and_metadata()


class Math(TextDisplayObject):
    def _repr_latex_(self):
        text = r"$\displaystyle %s$" % self.data.strip("$")
        return (text, dict(self.metadata)) if self.metadata else text


class SVG(DisplayObject):
    """The <svg> element of a document."""

    _binary = True
    _svg = None

    @property
    def data(self):
        return self._svg

    @data.setter
    def data(self, text):
        if text is not None:
            found = _library("xml.dom.minidom").parseString(text).getElementsByTagName("svg")
            if found:
                text = found[0].toxml()
            elif isinstance(text, bytes):
                text = text.decode("utf-8", "replace")
        self._svg = text

    def _repr_svg_(self):
        return self._data_and_metadata()


class JSON(DisplayObject):
    def __init__(self, data=None, url=None, filename=None, expanded=False, metadata=None,
                 root="root", **kwargs):
        self.metadata = dict({"expanded": expanded, "root": root}, **(metadata or {}))
        self.metadata.update(kwargs)
        DisplayObject.__init__(self, data, url, filename)

    @property
    def data(self):
        return self._json

    @data.setter
    def data(self, data):
        self._json = _library("json").loads(data) if isinstance(data, (str, bytes)) else data

    def _check_data(self):
        if self.data is not None and not isinstance(self.data, (dict, list)):
            raise TypeError("%s expects JSONable dict or list, not %r" % (
                type(self).__name__, self.data))

    def _repr_json_(self):
        return self.data, self.metadata


class GeoJSON(JSON):
    def _ipython_display_(self):
        session.part("display").publish(
            {"application/geo+json": self.data,
             "text/plain": "<IPython.display.GeoJSON object>"},
            {"application/geo+json": self.metadata})


class Javascript(TextDisplayObject):
    _CSS = ('var link = document.createElement("link");\n\tlink.ref = "stylesheet";\n'
            '\tlink.type = "text/css";\n\tlink.href = "%s";\n'
            "\tdocument.head.appendChild(link);\n")
    _LIBRARY = ("new Promise(function(resolve, reject) {\n"
                '\tvar script = document.createElement("script");\n\tscript.onload = resolve;\n'
                '\tscript.onerror = reject;\n\tscript.src = "%s";\n'
                "\tdocument.head.appendChild(script);\n}).then(() => {\n")

    def __init__(self, data=None, url=None, filename=None, lib=None, css=None):
        self.lib, self.css = ([one] if isinstance(one, str) else one or [] for one in (lib, css))
        for one in (self.lib, self.css):
            if not isinstance(one, (list, tuple)):
                raise TypeError("expected sequence, got: %r" % (one,))
        TextDisplayObject.__init__(self, data, url, filename)

    def _repr_javascript_(self):
        return ("".join(self._CSS % one for one in self.css)
                + "".join(self._LIBRARY % one for one in self.lib)
                + self.data + "\n});" * len(self.lib))


class ProgressBar(DisplayObject):
    """Counts while it is iterated; shown in place."""

    def __init__(self, total):
        self.total = total
        self._progress = 0
        self.html_width, self.text_width = "60ex", 60
        self._display_id = session.part("display").new_display_id()[:16]

    def __repr__(self):
        filled = "=" * int(self.progress / self.total * self.text_width)
        return "[%s] %s/%s" % (filled.ljust(self.text_width), self.progress, self.total)

    def _repr_html_(self):
        return "<progress style='width:%s' max='%s' value='%s'></progress>" % (
            self.html_width, self.total, self.progress)

    def display(self):
        session.part("display").display(self, display_id=self._display_id)

    def update(self):
        session.part("display").display(self, display_id=self._display_id, update=True)

    @property
    def progress(self):
        return self._progress

    @progress.setter
    def progress(self, value):
        self._progress = value
        self.update()

    def __iter__(self):
        self.display()
        self._progress = -1
        return self

    def __next__(self):
        self.progress += 1
        if self.progress < self.total:
            return self.progress
        raise StopIteration


# ----------------------------------------------------------------- pictures and sound


def _png_size(data):
    header = data.index(b"IHDR") + 4
    return tuple(int.from_bytes(data[k:k + 4], "big") for k in (header, header + 4))


def _jpeg_size(data):
    at = 4
    while data[at - 2:at] != b"\xff\xc0":  # start of frame
        at += int.from_bytes(data[at:at + 2], "big") + 2
    return tuple(int.from_bytes(data[at + k:at + k + 2], "big") for k in (5, 3))


def _gif_size(data):
    return tuple(int.from_bytes(data[k:k + 2], "little") for k in (6, 8))


class Image(DisplayObject):
    _binary = True
    _FORMATS = {"png": _png_size, "jpeg": _jpeg_size, "gif": _gif_size}

    def __init__(self, data=None, url=None, filename=None, format=None, embed=None,
                 width=None, height=None, retina=False, unconfined=False, metadata=None,
                 alt=None):
        data = _path(data)
        source = filename if filename is not None else url
        if source is None:
            if data is None:
                raise ValueError("No image data found. Expecting filename, url, or data.")
            if isinstance(data, str) and (data.startswith("http") or _exists(data)):
                source = data
        if format is None and source is not None:
            base, _, ending = str(_path(source)).rpartition(".")
            format = ending if base else str(source)
        elif format is None and isinstance(data, bytes) and data[:2] == b"\xff\xd8":
            format = "jpeg"
        format = (format or "png").lower()
        self.format = "jpeg" if format == "jpg" else format
        self.embed = embed if embed is not None else url is None
        if self.embed and self.format not in self._FORMATS:
            raise ValueError("Cannot embed the '%s' image format" % self.format)
        self.width, self.height, self.alt = width, height, alt
        self.retina, self.unconfined = retina, unconfined
        DisplayObject.__init__(self, data, url, filename, metadata)
        for name in ("width", "height", "alt"):
            if getattr(self, name) is None and self.metadata.get(name):
                setattr(self, name, self.metadata[name])

    def reload(self):
        if self.embed:
            DisplayObject.reload(self)
            if self.retina:
                self.width, self.height = (
                    extent // 2 for extent in self._FORMATS[self.format](self.data))

    def _repr_html_(self):
        if self.embed:
            return None
        return '<img src="%s"%s%s%s%s/>' % (
            self.url,
            ' width="%d"' % self.width if self.width else "",
            ' height="%d"' % self.height if self.height else "",
            ' class="unconfined"' if self.unconfined else "",
            ' alt="%s"' % _library("html").escape(self.alt) if self.alt else "")

    def _repr_mimebundle_(self, include=None, exclude=None):
        if not self.embed:
            return {"text/html": self._repr_html_()}
        if not isinstance(self.data, (bytes, bytearray, memoryview)):
            raise FileNotFoundError("No such file or directory: '%s'" % (self.data,))
        mime, metadata = "image/" + self.format, dict(self.metadata)
        for name in ("width", "height", "unconfined", "alt"):
            if getattr(self, name):
                metadata[name] = getattr(self, name)
        return {mime: bytes(self.data)}, {mime: metadata} if metadata else {}


class Video(DisplayObject):
    def __init__(self, data=None, url=None, filename=None, embed=False, mimetype=None,
                 width=None, height=None, html_attributes="controls"):
        data = _path(data)
        if url is None and isinstance(data, str) and data.startswith(("http:", "https:")):
            data, url = None, data
        elif data is not None and _exists(data):
            data, filename = None, data
        if data and not embed:
            raise ValueError("To embed videos, you must pass embed=True (this may make your "
                             "notebook files huge)\nConsider passing Video(url='...')")
        self.mimetype, self.embed, self.html_attributes = mimetype, embed, html_attributes
        self.width, self.height = width, height
        DisplayObject.__init__(self, data, url, filename)

    def reload(self):
        """Read when it is shown."""

    def _repr_html_(self):
        width, height = (' %s="%d"' % (name, getattr(self, name)) if getattr(self, name) else ""
                         for name in ("width", "height"))
        if not self.embed:
            return ('<video src="%s" %s %s %s>\n      Your browser does not support the '
                    "<code>video</code> element.\n    </video>" % (
                        self.url if self.url is not None else self.filename,
                        self.html_attributes, width, height))
        video, mime = self.data, self.mimetype
        if self.filename is not None:
            mime = mime or _library("mimetypes").guess_type(self.filename)[0]
            with open(self.filename, "rb") as file:
                video = file.read()
        if not isinstance(video, str):
            video = session.part("display")._base64(video)
        return ('<video %s %s %s>\n <source src="data:%s;base64,%s" type="%s">\n Your browser '
                "does not support the video tag.\n </video>" % (
                    self.html_attributes, width, height, mime, video, mime))


class Audio(DisplayObject):
    _binary = True

    def __init__(self, data=None, filename=None, url=None, embed=None, rate=None,
                 autoplay=False, normalize=True, *, element_id=None):
        if filename is None and url is None and data is None:
            raise ValueError("No audio data found. Expecting filename, url, or data.")
        if embed is False and url is None:
            raise ValueError("No url found. Expecting url when embed=False")
        self.embed = url is None or embed is True
        self.autoplay, self.element_id = autoplay, element_id
        DisplayObject.__init__(self, data, url, filename)
        if self.data is not None and not isinstance(self.data, bytes):
            if rate is None:
                raise ValueError("rate must be specified when data is a numpy array or list of "
                                 "audio samples.")
            self.data = self._wav(self.data, rate, normalize)

    def reload(self):
        if self.embed:
            DisplayObject.reload(self)
        source = self.filename if self.filename is not None else self.url
        self.mimetype = (_library("mimetypes").guess_type(source)[0] if source is not None
                         else "audio/wav")

    @staticmethod
    def _wav(samples, rate, normalize):
        """16-bit PCM of one channel, or of the rows of samples."""
        rows = samples.tolist() if hasattr(samples, "tolist") else list(samples)
        if not rows or not isinstance(rows[0], (list, tuple)):
            rows = [rows]
        if any(isinstance(one, (list, tuple)) for row in rows for one in row):
            raise ValueError("Array audio input must be a 1D or 2D array")
        highest = max((abs(one) for row in rows for one in row), default=0.0)
        if not normalize and highest > 1:
            raise ValueError("Audio data must be between -1 and 1 when normalize=False.")
        scale = 32767 / ((highest if normalize else 1) or 1)
        frames = _library("array").array(
            "h", (int(one * scale) for moment in zip(*rows) for one in moment))
        if sys.byteorder == "big":
            frames.byteswap()
        out = _library("io").BytesIO()
        with _library("wave").open(out, "wb") as file:
            file.setnchannels(len(rows))
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(frames.tobytes())
        return out.getvalue()

    def src_attr(self):
        if self.embed and self.data is not None:
            return "data:%s;base64,%s" % (
                self.mimetype, session.part("display")._base64(self.data))
        return self.url if self.url is not None else ""

    def autoplay_attr(self):
        return 'autoplay="autoplay"' if self.autoplay else ""

    def element_id_attr(self):
        return 'id="%s"' % self.element_id if self.element_id else ""

    def _repr_html_(self):
        return """
                <audio %s controls="controls" %s>
                    <source src="%s" type="%s" />
                    Your browser does not support the audio element.
                </audio>
              """ % (self.element_id_attr(), self.autoplay_attr(), self.src_attr(),
                     self.mimetype)


# ------------------------------------------------------------------ frames and links


class IFrame:
    def __init__(self, src, width, height, extras=None, **kwargs):
        self.src, self.width, self.height = src, width, height
        self.extras, self.params = extras or [], kwargs

    def _repr_html_(self):
        query = _library("urllib.parse").urlencode(self.params)
        return """
        <iframe
            width="%s"
            height="%s"
            src="%s"
            frameborder="0"
            allowfullscreen
            %s
        ></iframe>
        """ % (self.width, self.height, self.src + ("?" + query if query else ""),
               " ".join(self.extras))


class YouTubeVideo(IFrame):
    def __init__(self, id, width=400, height=300, allow_autoplay=False, **kwargs):
        self.id = id
        if allow_autoplay:
            kwargs.update(autoplay=1,
                          extras=list(kwargs.get("extras", [])) + ['allow="autoplay"'])
        IFrame.__init__(self, "https://www.youtube.com/embed/%s" % id, width, height, **kwargs)


class VimeoVideo(IFrame):
    def __init__(self, id, width=400, height=300, **kwargs):
        IFrame.__init__(self, "https://player.vimeo.com/video/%s" % id, width, height, **kwargs)


class ScribdDocument(IFrame):
    def __init__(self, id, width=400, height=300, **kwargs):
        IFrame.__init__(self, "https://www.scribd.com/embeds/%s/content" % id, width, height,
                        **kwargs)


class FileLink:
    html_link_str = "<a href='%s' target='_blank'>%s</a>"

    def __init__(self, path, url_prefix="", result_html_prefix="", result_html_suffix="<br>"):
        self.path = _library("os").fsdecode(path)
        if _library("os").path.isdir(self.path):
            raise ValueError("Cannot display a directory using FileLink. Use FileLinks to "
                             "display '%s'." % self.path)
        self.url_prefix = url_prefix
        self.result_html_prefix, self.result_html_suffix = (
            result_html_prefix, result_html_suffix)

    def _link(self, target, text):
        escape = _library("html").escape
        return "%s%s%s" % (self.result_html_prefix, self.html_link_str % (
            self.url_prefix + escape(target), escape(text, quote=False)),
            self.result_html_suffix)

    def _repr_html_(self):
        if not _exists(self.path):
            return ("Path (<tt>%s</tt>) doesn't exist. It may still be in the process of being "
                    "generated, or you may have the incorrect path." % self.path)
        return self._link(self.path, self.path)

    def __repr__(self):
        return _library("os").path.abspath(self.path)


class FileLinks(FileLink):
    """Links to the files of a folder."""

    def __init__(self, path, url_prefix="", included_suffixes=None, result_html_prefix="",
                 result_html_suffix="<br>", notebook_display_formatter=None,
                 terminal_display_formatter=None, recursive=True):
        self.path = _library("os").fsdecode(path).rstrip("/")
        if _library("os").path.isfile(self.path):
            raise ValueError("Cannot display a file using FileLinks. Use FileLink to display "
                             "'%s'." % self.path)
        self.url_prefix, self.included_suffixes = url_prefix, included_suffixes
        self.result_html_prefix, self.result_html_suffix = (
            result_html_prefix, result_html_suffix)
        self.notebook_display_formatter = notebook_display_formatter or self._links
        self.terminal_display_formatter = terminal_display_formatter or self._names
        self.recursive = recursive

    def _wanted(self, folder, names, suffixes):
        path = _library("os").path
        return [name for name in names if path.isfile(path.join(folder, name)) and (
            suffixes is None or path.splitext(name)[1] in suffixes)]

    def _links(self, folder, names, suffixes=None):
        wanted = self._wanted(folder, names, suffixes)
        head = self.result_html_prefix + folder + "/" + self.result_html_suffix
        return [head] * bool(wanted) + [
            "%s&nbsp;&nbsp;%s%s" % (
                self.result_html_prefix,
                self.html_link_str % ("%s%s/%s" % (self.url_prefix, folder, name), name),
                self.result_html_suffix) for name in wanted]

    def _names(self, folder, names, suffixes=None):
        wanted = self._wanted(folder, names, suffixes)
        return [folder + "/"] * bool(wanted) + ["  " + name for name in wanted]

    def _all(self, formatter):
        walked = []
        for folder, _, names in _library("os").walk(self.path):
            walked.append((folder, names))
            if not self.recursive:
                break
        return "\n".join(line for folder, names in sorted(walked)
                         for line in formatter(folder, names, self.included_suffixes))

    def _repr_html_(self):
        if not _exists(self.path):
            return FileLink._repr_html_(self)
        return self._all(self.notebook_display_formatter)

    def __repr__(self):
        return self._all(self.terminal_display_formatter)


class Code(TextDisplayObject):
    """Source text, coloured where Pygments is installed."""

    def __init__(self, data=None, url=None, filename=None, language=None):
        self.language = language
        TextDisplayObject.__init__(self, data, url, filename)

    def _highlighted(self, formatter):
        try:
            import pygments
            import pygments.formatters
            import pygments.lexers
        except ImportError:
            return None, None
        lexers = pygments.lexers
        lexer = (lexers.get_lexer_by_name(self.language) if self.language else
                 lexers.get_lexer_for_filename(self.filename) if self.filename else
                 lexers.guess_lexer(self.data))
        formatter = getattr(pygments.formatters, formatter)()
        return pygments.highlight(self.data, lexer, formatter), formatter

    def _repr_html_(self):
        text, formatter = self._highlighted("HtmlFormatter")
        if text is None:
            return "<pre>%s</pre>" % _library("html").escape(self.data)
        return "<style>%s</style>%s" % (formatter.get_style_defs(".output_html"), text)

    def _repr_latex_(self):
        return self._highlighted("LatexFormatter")[0]

    def __repr__(self):
        return self.data


# ---------------------------------------------------------------------- functions


def _shows(mime):
    def show(*objs, raw=False, metadata=None):
        """Shows objects as this type alone."""
        if raw:
            objs = [{mime: one} for one in objs]
        session.part("display").display(
            *objs, raw=raw, include=[mime], metadata={mime: metadata} if metadata else None)

    return show


functions = {"display_" + name: _shows(mime) for name, mime in (
    ("pretty", "text/plain"), ("html", "text/html"), ("markdown", "text/markdown"),
    ("svg", "image/svg+xml"), ("png", "image/png"), ("jpeg", "image/jpeg"),
    ("latex", "text/latex"), ("json", "application/json"),
    ("javascript", "application/javascript"), ("pdf", "application/pdf"))}

classes = [one for one in list(globals().values()) if isinstance(one, type)]
for _one in classes:
    _one.__module__ = "IPython.lib.display" if _one.__name__ in (
        "Audio", "IFrame", "YouTubeVideo", "VimeoVideo", "ScribdDocument", "FileLink",
        "FileLinks", "Code") else "IPython.core.display"
