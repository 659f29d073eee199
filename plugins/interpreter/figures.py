"""matplotlib: the backend of sessions, module://kiln_figures. Open figures are shown at
the end of the cell, in order, and closed. It also stands in for matplotlib_inline, whose
settings (%config InlineBackend, set_matplotlib_formats) are kept here. `session` is
session.py; nothing of matplotlib is imported before the session has done so."""
import sys

BACKEND = "module://kiln_figures"
_MIMES = {"png": "image/png", "retina": "image/png", "png2x": "image/png",
          "jpg": "image/jpeg", "jpeg": "image/jpeg", "svg": "image/svg+xml",
          "pdf": "application/pdf"}

_fresh = False  # a figure was made since the last showing, and is to be shown


class InlineBackend:
    """The settings, by the names that matplotlib_inline gives them."""

    def __init__(self):
        self.close_figures = True
        self.figure_formats = {"png"}
        self.print_figure_kwargs = {"bbox_inches": "tight"}
        self.rc = {}

    def __setattr__(self, name, value):
        if name == "figure_format":
            name, value = "figure_formats", {value}
        if name == "figure_formats":
            value = {value} if isinstance(value, str) else set(value)
            unknown = sorted(set(value) - set(_MIMES))
            if unknown:
                raise ValueError("supported formats are: %s not %s" % (
                    ", ".join(sorted(_MIMES)), ", ".join(map(str, unknown))))
        elif name not in ("close_figures", "print_figure_kwargs", "rc"):
            raise AttributeError("InlineBackend has no setting %s" % name)
        if name == "rc" and value:
            sys.modules["matplotlib"].rcParams.update(value)
        object.__setattr__(self, name, value)

    @property
    def figure_format(self):
        return "".join(sorted(self.figure_formats)[:1])

    @classmethod
    def instance(cls, *arguments, **options):
        return settings


settings = InlineBackend()


def set_matplotlib_formats(*formats, **kwargs):
    """The formats of figures: png, retina, jpeg, svg, pdf."""
    settings.figure_formats = formats
    settings.print_figure_kwargs = dict(settings.print_figure_kwargs, **kwargs)


def set_matplotlib_close(close=True):
    """Whether figures are closed at the end of the cell."""
    settings.close_figures = close


# --------------------------------------------------------------------- pictures


def is_figure(value):
    return isinstance(value, sys.modules["matplotlib.figure"].Figure)


def _dpi(figure):
    try:
        wanted = int(session.channel.option("dpi") or 0)
    except ValueError:
        wanted = 0
    return wanted if wanted > 0 else figure.dpi


def _print(figure, form):
    dpi = _dpi(figure)
    double = form in ("retina", "png2x")
    if figure.canvas is None:
        sys.modules["matplotlib.backend_bases"].FigureCanvasBase(figure)
    options = {"format": "png" if double else form, "facecolor": figure.get_facecolor(),
               "edgecolor": figure.get_edgecolor(), "dpi": dpi * 2 if double else dpi}
    options.update(settings.print_figure_kwargs)
    out = session.library("io").BytesIO()
    figure.canvas.print_figure(out, **options)
    data = out.getvalue()
    if form == "svg":
        return data.decode("utf-8"), None
    if double:  # the width and height of a PNG are at 16
        width, height = (int.from_bytes(data[start:start + 4], "big") for start in (16, 20))
        return data, {"width": width // 2, "height": height // 2}
    return data, None


def pictures(figure, wanted):
    """[(MIME type, data, metadata)] of the figure in the formats that are set; none of
    an empty one."""
    if not figure.axes and not getattr(figure, "lines", None):
        return []
    return [(_MIMES[form],) + _print(figure, form) for form in sorted(settings.figure_formats)
            if wanted(_MIMES[form])]


def _metadata(figure):
    """A transparent figure is drawn for a light or for a dark page."""
    colors = sys.modules["matplotlib.colors"]
    if colors.to_rgba(figure.get_facecolor())[3] >= 0.5:
        return None
    labels = [label.get_color() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
              for label in axis.get_ticklabels()]
    light = {bool(shade > 0.5) for shade in
             colors.to_rgba_array(labels)[:, :3].dot((.299, .587, .114))} if labels else ()
    return {"needs_background": "dark" if light.pop() else "light"} if len(light) == 1 else None


# ---------------------------------------------------------------------- showing


def _managers():
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return helpers.Gcf.get_all_fig_managers() if helpers else []


def _show(managers, close):
    global _fresh
    display = session.part("display")
    try:
        for manager in managers:
            figure = manager.canvas.figure
            display.display(figure, metadata=_metadata(figure))
            figure.stale = False  # until it is drawn upon again
    finally:
        _fresh = False
        if close and _managers():
            sys.modules["matplotlib.pyplot"].close("all")


def flush():
    """At the end of a cell: what was made in it. With plt.ioff() figures wait for
    plt.show(). Figures that are kept open are shown when they were drawn upon."""
    managers = _managers()
    if not managers or sys.modules["matplotlib"].get_backend() not in _BACKENDS:
        return
    if not settings.close_figures:
        managers = [one for one in managers if one.canvas.figure.stale]
        if not managers or not sys.modules["matplotlib"].is_interactive():
            return
    elif not _fresh:
        return
    try:
        _show(managers, settings.close_figures)
    except Exception as error:
        session.part("tracebacks").report_to_stderr(error)


# ------------------------------------------------------------ the backend module

_BACKENDS = (BACKEND, "module://matplotlib_inline.backend_inline")


def _supply_backend(module):
    matplotlib = sys.modules["matplotlib"]
    from matplotlib.backends import backend_agg
    from matplotlib.figure import Figure

    def new_figure_manager(num, *args, FigureClass=Figure, **kwargs):
        return new_figure_manager_given_figure(num, FigureClass(*args, **kwargs))

    def new_figure_manager_given_figure(num, figure):
        global _fresh
        manager = backend_agg.new_figure_manager_given_figure(num, figure)
        # figure.show(): it is shown, at the end of the cell; as in Jupyter, not twice.
        manager.show = lambda: None
        _fresh = _fresh or matplotlib.is_interactive()
        return manager

    def show(close=None, block=None):
        """plt.show(): there and then."""
        _show(_managers(), settings.close_figures if close is None else close)

    module.FigureCanvas = backend_agg.FigureCanvasAgg
    module.FigureManager = backend_agg.FigureManager if hasattr(
        backend_agg, "FigureManager") else sys.modules[
            "matplotlib.backend_bases"].FigureManagerBase
    module.new_figure_manager = new_figure_manager
    module.new_figure_manager_given_figure = new_figure_manager_given_figure
    module.show = show
    module.flush_figures = flush
    matplotlib.interactive(True)


def supply(module):
    """Fills the backend module that matplotlib imports, and those of matplotlib_inline."""
    module.InlineBackend = InlineBackend
    module.set_matplotlib_formats = set_matplotlib_formats
    module.set_matplotlib_close = set_matplotlib_close
    if module.__name__ in ("kiln_figures", "matplotlib_inline.backend_inline"):
        __import__("matplotlib")
        _supply_backend(module)
        sys.modules.setdefault("kiln_figures", module)  # session.py looks for it
    elif module.__name__ == "matplotlib_inline":
        module.__path__ = []


def use():
    """%matplotlib inline"""
    __import__("matplotlib")
    matplotlib = sys.modules["matplotlib"]
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].switch_backend(BACKEND)
    else:
        matplotlib.use(BACKEND)
    matplotlib.interactive(True)
