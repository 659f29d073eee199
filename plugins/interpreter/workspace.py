"""Magics of files and folders, of the environment, of variables and of the cells so far.
`session` is session.py."""
import sys

arguments, shell_part = session.part("arguments"), session.part("shell")
UsageError, namespace, fill = shell_part.UsageError, shell_part.namespace, shell_part.fill
shell = shell_part.shell


def output(text):
    sys.stdout.write(text)


# -------------------------------------------------------------- files and folders


def writefile(line, body=None):
    """%%writefile [-a] FILE: writes the cell's text into a file."""
    words = arguments.split(line)
    append = "-a" in words or "--append" in words
    names = [word for word in words if word not in ("-a", "--append")]
    if len(names) != 1 or body is None:
        raise UsageError("%%writefile wants one file name")
    os = session.library("os")
    name = os.path.expanduser(fill(names[0]))
    verb = "Writing" if not os.path.exists(name) else "Appending to" if append else "Overwriting"
    output("%s %s\n" % (verb, name))
    with open(name, "a" if append else "w", encoding="utf-8") as file:
        file.write(body)


def _folders():
    found = namespace().get("_dh")
    return found if isinstance(found, list) else []


def cd(line):
    """%cd FOLDER, %cd -, %cd: changes the work directory."""
    os = session.library("os")
    options, line = arguments.options(line, "q") if line.startswith("-q") else ({}, line)
    folders = _folders()
    target = line.strip().strip("'\"")
    if target == "-":
        if len(folders) < 2:
            raise UsageError("%cd -: no folder before this one")
        target = folders[-2]
    try:
        os.chdir(os.path.expanduser(target or "~"))
    except OSError as error:
        raise UsageError("%%cd: %s: %s" % (error.strerror, target or "~")) from None
    folders.append(os.getcwd())
    if "q" not in options:
        output(os.getcwd() + "\n")


def pwd(line):
    """%pwd: the work directory."""
    return session.library("os").getcwd()


_stack = []


def pushd(line):
    """%pushd FOLDER: changes there, and %popd back."""
    _stack.append(session.library("os").getcwd())
    cd(line)


def popd(line):
    """%popd: back to where %pushd was called."""
    if not _stack:
        raise UsageError("%popd on empty stack")
    cd(_stack.pop())


def dhist(line):
    """%dhist: the folders so far."""
    output("Directory history (kept in _dh)\n" + "".join(
        "%d: %s\n" % entry for entry in enumerate(_folders())))


def run_file(line):
    """%run [-i] [-t] [-n] FILE [ARGUMENT...]: runs a script, or the cells of a notebook;
    its names are kept."""
    time, os = session.library("time"), session.library("os")
    words = arguments.split(line)
    options = set()
    while words and words[0] in ("-i", "-n", "-t", "-e"):
        options.add(words.pop(0))
    if not words:
        raise UsageError("%run wants a file name")
    name = os.path.expanduser(words[0])
    if not os.path.exists(name) and not os.path.splitext(name)[1]:
        name += ".py"
    if not os.path.exists(name):
        raise UsageError("File `%r` not found." % words[0])
    begin = time.perf_counter()
    before = sys.argv
    sys.argv = [name] + words[1:]
    folder = os.path.dirname(os.path.abspath(name))
    sys.path.insert(0, folder)
    try:
        if name.endswith(".ipynb"):
            _run_notebook(name)
        elif "-i" in options:
            with open(name, encoding="utf-8") as file:
                exec(compile(file.read(), name, "exec", 0, True), namespace())
        else:
            found = session.library("runpy").run_path(
                name, run_name=os.path.splitext(os.path.basename(name))[0]
                if "-n" in options else "__main__")
            namespace().update((key, value) for key, value in found.items()
                               if not key.startswith("__"))
    except SystemExit as error:
        if "-e" not in options and error.code not in (None, 0):
            raise
    finally:
        sys.argv = before
        if folder in sys.path:
            sys.path.remove(folder)
    if "-t" in options:
        output("Wall time: %s\n" % session.part("timing").duration(time.perf_counter() - begin))


def _run_notebook(name):
    with open(name, encoding="utf-8") as file:
        notebook = session.library("json").load(file)
    for number, cell in enumerate(notebook.get("cells", ())):
        if cell.get("cell_type") == "code":
            source = cell.get("source", "")
            shell_part.run_code(source if isinstance(source, str) else "".join(source),
                                "%s[%d]" % (name, number), show=sys.displayhook)


# --------------------------------------------------------------------- environment


def env(line):
    """%env, %env NAME, %env NAME=VALUE: the environment's variables."""
    os = session.library("os")
    if not line.strip():
        secret = ("key", "token", "secret")
        return {name: "<hidden>" if any(word in name.lower() for word in secret) else value
                for name, value in os.environ.items()}
    name, equals, value = line.partition("=")
    if not equals:
        name, equals, value = line.strip().partition(" ")
    name = name.strip()
    if not equals:
        if name not in os.environ:
            raise UsageError("Environment does not have key: %s" % name)
        return os.environ[name]
    return set_env("%s %s" % (name, value))


def set_env(line):
    """%set_env NAME VALUE"""
    os = session.library("os")
    name, equals, value = line.strip().partition("=" if "=" in line.split(" ")[0] else " ")
    if not equals or not name or " " in name.strip():
        raise UsageError("%set_env wants NAME=VALUE")
    os.environ[name.strip()] = fill(value.strip())
    output("env: %s=%s\n" % (name.strip(), os.environ[name.strip()]))


# ----------------------------------------------------------------------- variables


def who_names(line=""):
    """%who_ls [TYPE...]: the names that the code has set."""
    hidden = {"In", "Out", "exit", "quit", "get_ipython"}
    kinds = set(line.split())
    return sorted(name for name, value in list(namespace().items())
                  if not name.startswith("_") and name not in hidden
                  and (type(value).__name__ in kinds if kinds else type(value) is not type(sys)))


def who(line):
    """%who [TYPE...]: the names that the code has set."""
    names = who_names(line)
    if not names:
        output("No variables match your requested type.\n" if line.strip() else
                "Interactive namespace is empty.\n")
        return
    for start in range(0, len(names), 8):
        output("\t ".join(names[start:start + 8]) + "\n")


def _brief(value):
    shape = getattr(value, "shape", None)
    if type(value).__name__ == "ndarray" and isinstance(shape, tuple):
        size = 1
        for extent in shape:
            size *= extent
        return "%s: %d elems, type `%s`, %s bytes" % (
            "x".join(map(str, shape)), size, value.dtype, format(value.nbytes, ","))
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return "n=%d" % len(value)
    text = " ".join((session.part("display").plain(value) or "").split())
    return text if len(text) <= 50 else text[:20] + "<...>" + text[-20:]


def whos(line):
    """%whos [TYPE...]: the names with type and a short value."""
    names = who_names(line)
    if not names:
        who(line)
        return
    rows = [(name, type(namespace()[name]).__name__, _brief(namespace()[name]))
            for name in names]
    widths = [max(len(row[k]) for row in rows + [("Variable", "Type", "")]) for k in (0, 1)]
    output("%-*s   %-*s   Data/Info\n%s\n" % (
        widths[0], "Variable", widths[1], "Type", "-" * (widths[0] + widths[1] + 15)))
    for name, kind, value in rows:
        output("%-*s   %-*s   %s\n" % (widths[0], name, widths[1], kind, value))


def reset(line):
    """%reset [-f] [in] [out]: forgets all names, or the inputs or outputs alone."""
    words = [word for word in line.split() if word not in ("-f", "-s")]
    known = {"in": "In", "out": "Out"}
    if any(word not in known for word in words):
        raise UsageError("%%reset takes -f, in and out, not %s" % " ".join(words))
    for word in words or ("all",):
        if word == "all":
            for name in who_names() + [name for name, value in list(namespace().items())
                                        if type(value) is type(sys)
                                        and not name.startswith("_")]:
                del namespace()[name]
        if word in ("all", "out"):
            namespace()["Out"].clear()
            for name in [name for name in namespace() if name[:1] == "_" and
                         name[1:].isdigit()]:
                del namespace()[name]
            namespace().update(_=None, __=None, ___=None)
            session._last[:] = [None, None, None]
        if word in ("all", "in"):
            cells = namespace()["In"]
            cells[:] = [""] * len(cells)


def reset_selective(line):
    """%reset_selective [-f] PATTERN: forgets the names that match."""
    pattern = arguments.options(line, "f")[1].strip()
    try:
        matching = session.library("re").compile(pattern).search
    except session.library("re").error as error:
        raise UsageError("%%reset_selective: %s: %s" % (error, pattern)) from None
    for name in who_names():
        if matching(name):
            del namespace()[name]


def xdel(line):
    """%xdel NAME: forgets a name, and the outputs that hold its value."""
    name = line.strip().split(" ")[-1]
    if name not in namespace():
        raise UsageError("%%xdel: no variable %s" % name)
    value = namespace().pop(name)
    for other in [key for key, held in namespace().items()
                  if held is value and key.startswith("_")]:
        del namespace()[other]
    for number in [key for key, held in namespace()["Out"].items() if held is value]:
        del namespace()["Out"][number]


# ------------------------------------------------------------------------- history


def history(line):
    """%history [-n] [-o] [-l COUNT] [RANGE...]: the cells so far."""
    history = session.part("history")
    options, rest = arguments.options(line, "noprtu", "lfg")
    chosen = history.numbers(rest.split())
    if "l" in options:
        chosen = chosen[-arguments.number(options, "l", 10, "history"):]
    cells = history.inputs()
    for number in chosen:
        source = cells[number]
        if "g" in options and options["g"] not in source:
            continue
        if "n" in options:
            output("%4d:%s" % (number, "\n" if "\n" in source else " "))
        output(source + "\n")
        if "o" in options and number in namespace()["Out"]:
            output("%s\n" % session.part("display").plain(namespace()["Out"][number]))


def rerun(line):
    """%rerun [RANGE...]: runs earlier cells again; without a range, the last one."""
    history = session.part("history")
    chosen = history.numbers(line.split())
    for number in chosen if line.strip() else chosen[-1:]:
        source = history.inputs()[number]
        output("=== Executing: ===\n%s\n=== Output: ===\n" % source)
        shell_part.run_code(source, show=sys.displayhook)


def show_traceback(line):
    """%tb: the last exception's traceback again."""
    error = getattr(sys, "last_value", None) or session.part("tracebacks").last
    if error is None:
        raise UsageError("No traceback available to show.")
    session.part("tracebacks").report_to_stderr(error)
