"""matplotlib: the backend of sessions, module://kiln_figures. Open figures are
shown at the end of the cell, in order, and closed. `session` is session.py; nothing
of matplotlib is imported before the session has done so."""
import sys

_shown = []  # figures that this cell has shown already


def is_figure(value):
    return isinstance(value, sys.modules["matplotlib.figure"].Figure)


def png(figure):
    """The picture as Jupyter's inline backend makes it; None when it is empty."""
    if not figure.axes and not getattr(figure, "lines", None):
        return None
    if figure.canvas is None:
        sys.modules["matplotlib.backend_bases"].FigureCanvasBase(figure)
    dpi = figure.dpi
    try:
        wanted = int(session.channel.option("dpi") or 0)
    except ValueError:
        wanted = 0
    if wanted > 0:
        dpi = wanted
    out = session.library("io").BytesIO()
    figure.canvas.print_figure(
        out, format="png", facecolor=figure.get_facecolor(),
        edgecolor=figure.get_edgecolor(), dpi=dpi, bbox_inches="tight")
    _shown.append(figure)
    return out.getvalue()


def _managers():
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return helpers.Gcf.get_all_fig_managers() if helpers else []


def _show_open(skip=()):
    display = session.part("display")
    managers = _managers()
    try:
        for manager in managers:
            figure = manager.canvas.figure
            if not any(figure is one for one in skip):
                display.display(figure)
    finally:
        if managers:
            sys.modules["matplotlib.pyplot"].close("all")


def flush():
    """At the end of a cell. With plt.ioff() figures wait for plt.show()."""
    shown = _shown[:]
    del _shown[:]
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is None or not _managers():
        return
    if matplotlib.get_backend() != "module://kiln_figures" or not matplotlib.is_interactive():
        return
    try:
        _show_open(shown)
    except Exception as error:
        session.part("tracebacks").report_to_stderr(error)
    del _shown[:]


def supply(module):
    """Fills the backend module that matplotlib imports."""
    matplotlib = sys.modules["matplotlib"]
    from matplotlib.backends import backend_agg
    from matplotlib.figure import Figure

    def new_figure_manager(num, *args, FigureClass=Figure, **kwargs):
        return new_figure_manager_given_figure(num, FigureClass(*args, **kwargs))

    def new_figure_manager_given_figure(num, figure):
        manager = backend_agg.new_figure_manager_given_figure(num, figure)
        figure.show = lambda *args, **kwargs: session.part("display").display(figure)
        return manager

    def show(*args, **kwargs):
        """plt.show(): there and then."""
        _show_open()

    module.FigureCanvas = backend_agg.FigureCanvasAgg
    module.FigureManager = backend_agg.FigureManager if hasattr(
        backend_agg, "FigureManager") else sys.modules[
            "matplotlib.backend_bases"].FigureManagerBase
    module.new_figure_manager = new_figure_manager
    module.new_figure_manager_given_figure = new_figure_manager_given_figure
    module.show = show
    matplotlib.interactive(True)
