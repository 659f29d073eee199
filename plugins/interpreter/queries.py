"""Answers about the session without running a cell: Jupyter's complete_request,
inspect_request and is_complete_request, and the list of variables. `session` is
session.py.

They change nothing: neither In, Out nor the execution count. What asks an object asks
the code's own methods, which may raise, loop or give anything: an exception is an
answer, an interrupt ends the query, and the memory that one may take is held by the
worker."""
import _ast

_TABS = 4


def query(name, arguments):
    """JSON text in and out; None: there is no such query."""
    answer = _queries.get(name)
    if answer is None:
        return None
    session.channel.arm(True)
    try:
        reply = answer(session.library("json").loads(arguments))
        text = session.part("display").encode(reply)
    finally:
        session.channel.arm(False)
    return text


def _complete(arguments):
    return session.part("complete").complete(arguments["code"], arguments["cursor_pos"])


def _inspect(arguments):
    return session.part("inspect").inspect(
        arguments["code"], arguments["cursor_pos"], arguments.get("detail_level", 0))


def _variables(arguments):
    return session.part("variables").variables()


# ------------------------------------------------------------------ is_complete

_ENDS_BLOCK = ("return", "pass", "break", "continue", "raise")


def is_complete(source):
    """{"status": ..., "indent": ...}: whether Enter is to run it. A block goes on until
    an empty line ends it."""
    if source[:1] == "\ufeff":
        source = source[1:]
    lines = source.split("\n")
    if not source.strip():
        return {"status": "complete"}
    if lines[0].startswith("%%"):
        whole = len(lines) > 1 and not lines[-1].strip()
        return {"status": "complete"} if whole else _incomplete("")
    try:
        tree = _parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {"status": "invalid"}
    if tree is None:
        return _incomplete(_indent_after(lines))
    if not lines[-1].strip():
        return {"status": "complete"}
    if lines[-1][:1] in " \t" and len(lines) > 1 and not _within_brackets(tree, len(lines)):
        return _incomplete(_indent_after(lines))
    return {"status": "complete"}


def _incomplete(indent):
    return {"status": "incomplete", "indent": indent}


def _parse(source):
    """The tree, None: it is only a beginning; raises SyntaxError."""
    compiler = session.library("codeop").CommandCompiler()
    futures = session.part("compiling").futures()
    compiler.compiler.flags |= session._ASYNC | futures
    warnings = session.library("warnings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if compiler(source, "<cell>", "exec") is None:
                return None
            return compile(source, "<cell>", "exec", session._PARSE | futures, True)
        except SyntaxError as error:
            changed = session.part("lines").transform(
                source, "<cell>", session._PARSE, error) if any(
                    mark in source for mark in "%!?") else None
            if changed is None:
                raise
            return changed[1]


def _within_brackets(tree, line):
    """Whether the last line is indented only because an open bracket reaches into it."""
    last = tree.body[-1] if tree.body else None
    return last is not None and last.end_lineno == line and isinstance(
        last, (_ast.Expr, _ast.Assign, _ast.AugAssign, _ast.AnnAssign, _ast.Return,
               _ast.Import, _ast.ImportFrom, _ast.Assert, _ast.Delete, _ast.Raise))


def _indent_after(lines):
    """What the next line begins with."""
    filled = [line for line in lines if line.strip()]
    line = filled[-1] if filled else ""
    indent = line[:len(line) - len(line.lstrip())]
    code = line.strip().partition("#")[0].rstrip() or line.strip()
    if code.endswith((":", "(", "[", "{")):
        return indent + " " * _TABS
    if code.split("(")[0].split(" ")[0] in _ENDS_BLOCK and not code.endswith(("\\", ",")):
        return indent[:-_TABS] if indent.endswith(" " * _TABS) else indent
    return indent


_queries = {"complete": _complete, "inspect": _inspect, "variables": _variables,
            "is_complete": lambda arguments: is_complete(arguments["code"])}
