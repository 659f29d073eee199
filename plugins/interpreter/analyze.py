"""What Python's parser says of code, without running it. `session` is session.py."""
import _ast

_NAMES_MAX = 10000  # entries of one list


def _import_text(node):
    names = ", ".join(one.name + (" as " + one.asname if one.asname else "")
                      for one in node.names)
    if isinstance(node, _ast.Import):
        return "import " + names
    return "from %s%s import %s" % ("." * (node.level or 0), node.module or "", names)


def _dotted(node):
    """a.b.c of a Name or Attribute; "" when it begins with something else. What magic
    lines become, get_ipython().system(...), is get_ipython.system."""
    parts = []
    while isinstance(node, _ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, _ast.Call) and _dotted(node.func) == "get_ipython":
        node = node.func
    if not isinstance(node, _ast.Name):
        return ""
    parts.append(node.id)
    return ".".join(reversed(parts))


def _children(node):
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            for item in value:
                if isinstance(item, _ast.AST):
                    yield item
        elif isinstance(value, _ast.AST):
            yield value


_SCOPES = (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef, _ast.Lambda,
           _ast.ListComp, _ast.SetComp, _ast.DictComp, _ast.GeneratorExp)


class _Found:
    def __init__(self):
        self.imports, self.import_lines, self.names, self.calls = {}, {}, {}, {}

    def visit(self, tree):
        # No recursion: code may be nested as deep as the parser lets it.
        waiting = [(node, True, True) for node in reversed(tree.body)]
        while waiting:
            node, top, module_scope = waiting.pop()
            self._see(node, top, module_scope)
            inside = module_scope and not isinstance(node, _SCOPES)
            for child in reversed(list(_children(node))):
                waiting.append((child, False, inside))

    def _see(self, node, top, module_scope):
        if isinstance(node, _ast.Import):
            for one in node.names:
                self.imports[one.name.partition(".")[0]] = True
                if module_scope:
                    self.names[one.asname or one.name.partition(".")[0]] = True
        elif isinstance(node, _ast.ImportFrom):
            if not node.level and node.module:
                self.imports[node.module.partition(".")[0]] = True
            if module_scope:
                for one in node.names:
                    if one.name != "*":
                        self.names[one.asname or one.name] = True
        elif isinstance(node, _ast.Call):
            name = _dotted(node.func)
            if name:
                self.calls[name] = True
        elif module_scope and isinstance(
                node, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef)):
            self.names[node.name] = True
        elif module_scope and isinstance(node, _ast.Name) and isinstance(
                node.ctx, _ast.Store):
            self.names[node.id] = True
        if top and isinstance(node, (_ast.Import, _ast.ImportFrom)):
            self.import_lines[_import_text(node)] = True

    def lists(self):
        lines = list(self.import_lines)
        lines.sort(key=lambda line: not line.startswith("from __future__ "))
        return {"imports": [name for name in self.imports if name != "__future__"],
                "import_lines": lines, "names": list(self.names),
                "calls": list(self.calls)}


def _parse(source):
    if source[:1] == "\ufeff":
        source = source[1:]
    try:
        return compile(source, "<cell>", "exec", session._PARSE, True)
    except SyntaxError as error:
        changed = session.part("lines").transform(
            source, "<cell>", session._PARSE, error)
        if changed is None:
            raise
        return changed[1]


def analyze(source):
    found = _Found()
    failure = None
    try:
        found.visit(_parse(source))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        failure = {
            "name": type(error).__name__,
            "message": str(getattr(error, "msg", None) or error) or "too complex to parse",
            "line": getattr(error, "lineno", None) or 1,
            "column": getattr(error, "offset", None) or 1,
        }
    answer = {key: value[:_NAMES_MAX] for key, value in found.lists().items()}
    answer["error"] = failure
    return session.part("display").encode(answer)
