"""get_ipython().events: functions that the code wants called before and after each of its
cells, as IPython does. `session` is session.py."""

_ARGUMENTS = {"pre_execute": 0, "pre_run_cell": 1, "post_execute": 0, "post_run_cell": 1,
              "shell_initialized": 1}


class Info:
    """Of a cell that is to run."""

    def __init__(self, raw_cell):
        self.raw_cell = raw_cell
        self.transformed_cell = raw_cell
        self.store_history, self.silent, self.shell_futures = True, False, True
        self.cell_id = None

    def __repr__(self):
        return "<cell %r>" % self.raw_cell[:50]


class Result:
    """Of one that has run."""

    def __init__(self, info, count, error):
        self.info, self.execution_count = info, count
        self.error_before_exec = None
        self.error_in_exec = error
        self.result = session._main.__dict__.get("Out", {}).get(count)

    @property
    def success(self):
        return self.error_in_exec is None


def _draws(function):
    """Matplotlib's own, which figures.py stands for: a figure is drawn once a cell."""
    return str(getattr(function, "__module__", "")).partition(".")[0] in (
        "matplotlib", "matplotlib_inline")


class Events:
    def __init__(self):
        self.callbacks = {name: [] for name in _ARGUMENTS}

    def register(self, event, function):
        if not callable(function):
            raise TypeError("Need a callable, got %r" % (function,))
        if function in self.callbacks[event] or _draws(function):
            return
        self.callbacks[event].append(function)
        session.watch_cells()

    def unregister(self, event, function):
        if _draws(function):
            return
        if function not in self.callbacks[event]:
            raise ValueError("Function %r is not registered as a %s callback" % (
                function, event))
        self.callbacks[event].remove(function)

    def trigger(self, event, *arguments, **options):
        for function in list(self.callbacks[event]):
            try:
                function(*arguments, **options)
            except Exception as error:  # the cell is no worse for it
                session.stderr.write("Error in callback %r (for %s):\n" % (function, event))
                session.part("tracebacks").report_to_stderr(error)


events = Events()
_info = None


def before(source):
    global _info
    _info = Info(source)
    session.part("autoreload").check()
    events.trigger("pre_execute")
    events.trigger("pre_run_cell", _info)


def after(source, count, error):
    """Also of the cell that has registered the first of them."""
    global _info
    info, _info = _info or Info(source), None
    events.trigger("post_execute")
    events.trigger("post_run_cell", Result(info, count, error))
    session.part("autoreload").note()
