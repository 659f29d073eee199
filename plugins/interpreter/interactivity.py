"""InteractiveShell.ast_node_interactivity: which expressions of a cell are shown, where the
code asks for something else than the last one. `session` is session.py."""
import _ast

_MODES = ("all", "last", "last_expr", "none", "last_expr_or_assign")


def set(mode):
    """Counts from the next cell on."""
    if mode not in _MODES:
        raise ValueError("ast_node_interactivity is one of %s, not %r" % (
            ", ".join(_MODES), mode))
    session.part("compiling").interactivity = None if mode == "last_expr" else rearranged
    global _mode
    _mode = mode


_mode = "last_expr"


def _shown(node):
    """The statement get_ipython().displayhook(expression)"""
    def name(identifier):
        return _ast.Name(identifier, _ast.Load())

    shell = _ast.Call(name("get_ipython"), [], [])
    call = _ast.Call(_ast.Attribute(shell, "displayhook", _ast.Load()), [node.value], [])
    statement = _ast.Expr(call)
    for one in (shell.func, shell, call.func, call, statement):
        for field in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            setattr(one, field, getattr(node, field))
    return statement


def rearranged(tree):
    """Changes the cell's tree so that its last expression is shown, as ever, and others
    show themselves."""
    body = tree.body
    if _mode == "all":
        body[:-1] = [_shown(node) if isinstance(node, _ast.Expr) else node for node in body[:-1]]
    elif _mode == "none" and body and isinstance(body[-1], _ast.Expr):
        end = _ast.Pass()
        for field in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            setattr(end, field, getattr(body[-1], field))
        body.append(end)
    elif _mode == "last_expr_or_assign" and body:
        last = body[-1]
        target = None
        if isinstance(last, _ast.Assign) and len(last.targets) == 1:
            target = last.targets[0]
        elif isinstance(last, (_ast.AugAssign, _ast.AnnAssign)) and last.value is not None:
            target = last.target
        if isinstance(target, _ast.Name):
            value = _ast.Name(target.id, _ast.Load())
            statement = _ast.Expr(value)
            for one in (value, statement):
                for field in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
                    setattr(one, field, getattr(last, field))
            body.append(statement)
    return tree
