"""complete_request: what may stand at a cursor. `session` is session.py."""
import os
import sys

_MATCHES_MAX = 2000
_TYPES_MAX = 500  # of which the type is told
_ENTRIES_MAX = 20000  # of one folder
_HEADS = ("%%bash", "%%sh", "%%script", "%%perl", "%%writefile", "%%file", "%%html",
          "%%HTML", "%%markdown", "%%latex", "%%svg", "%%SVG", "%%javascript", "%%js", "%%!",
          "%%sx", "%%system")


_PATH_MAGICS = ("cd", "pushd", "run", "ls", "ll", "la", "cat", "less", "more", "cp", "mv", "rm",
                "rmdir", "mkdir", "writefile", "file")


def complete(code, cursor_pos):
    text = code[:cursor_pos]
    start, found = _find(text, code[cursor_pos:])
    unique = {}
    for match, kind in found:
        if len(unique) >= _MATCHES_MAX:
            break
        unique.setdefault(match, kind)
    types = [{"start": start, "end": cursor_pos, "text": match, "type": kind, "signature": ""}
             for match, kind in list(unique.items())[:_TYPES_MAX]]
    return {"matches": list(unique), "cursor_start": start, "cursor_end": cursor_pos,
            "metadata": {"_jupyter_types_experimental": types}}


def _find(text, rest):
    """(where the replaced part begins, [(match, type)])"""
    line_start = text.rfind("\n") + 1
    line = text[line_start:]
    first = text.lstrip("\n").partition("\n")
    if first[0].startswith(_HEADS) and first[1]:
        return _paths(text, _word(line))
    if line.lstrip().startswith("!"):
        return _paths(text, _word(line))
    stripped = line.lstrip()
    if stripped.startswith("%") and " " not in stripped:
        return _magics(text, stripped)
    if stripped.partition(" ")[0].lstrip("%") in _PATH_MAGICS and stripped.startswith("%"):
        return _paths(text, _word(line))
    lookup = session.part("lookup")
    place = lookup.place(text)
    if place.comment:
        return len(text), []
    if place.quote is not None:
        expression = _braced(text, place)
        if expression is None:
            return _in_string(text, rest, place)
        text = " " * (len(text) - len(expression)) + expression
        place = lookup.place(text)
    imports = _imports(text, line)
    if imports is not None:
        return imports
    return _names(text, place)


def _braced(text, place):
    """The expression of an f-string that the cursor is in, or None."""
    if "f" not in place.prefix:
        return None
    inside = text[place.string:].replace("{{", "  ")
    opened = inside.rfind("{")
    return inside[opened + 1:] if opened > inside.rfind("}") else None


# ------------------------------------------------------------------------ names

def _names(text, place):
    lookup = session.part("lookup")
    start = lookup.identifier_start(text)
    prefix, before = text[start:], text[:start].rstrip(" \t")
    if before.endswith(".") and not before.endswith(".."):
        return start, _attributes(before[:-1], prefix)
    found = []
    if place.brackets and text[place.brackets[-1]] == "(":
        found += _parameters(text, place.brackets[-1], prefix)
    if prefix or not found:
        found += _known_names(text[:start], prefix)
    return start, found


def _known_names(before, prefix):
    lookup = session.part("lookup")
    found = {}
    if not prefix:
        for name, value in list(lookup.names().items()):
            if isinstance(name, str) and not name.startswith("_") and name not in ("In", "Out"):
                found[name] = _kind(value)
        return _sorted(found)
    for name in _assigned(before):
        found[name] = "statement"
    for space in (lookup.names(), session._builtins.__dict__):
        for name, value in list(space.items()):
            if isinstance(name, str) and name.startswith(prefix) and name not in found:
                found[name] = _kind(value)
    for word in session.library("keyword").kwlist:
        found.setdefault(word, "keyword")
    return _sorted({name: kind for name, kind in found.items() if name.startswith(prefix)
                    and (prefix.startswith("_") or not name.startswith("_"))})


def _assigned(before):
    """Names that the cell itself makes above the cursor."""
    if len(before) > 100000:
        return ()
    pattern = r"(?m)^[ \t]*(\w+)[ \t]*=[^=]|\b(?:def|class|for|as|import)[ \t]+(\w+)"
    return [one or other for one, other in session.library("re").findall(pattern, before)]


def _sorted(found):
    return sorted(found.items(), key=lambda item: (item[0].startswith("_"), item[0].lower(),
                                                   item[0]))


def _kind(value):
    if isinstance(value, type):
        return "class"
    kind = type(value)
    if kind is type(sys):
        return "module"
    if kind.__name__ in ("function", "builtin_function_or_method", "method_descriptor",
                         "wrapper_descriptor", "method", "staticmethod", "classmethod",
                         "classmethod_descriptor", "method-wrapper", "ufunc"):
        return "function"
    if kind is property:
        return "property"
    return "instance"


def _attributes(before, prefix):
    lookup = session.part("lookup")
    expression = lookup.expression_before(before)
    if not expression or expression.isdigit():
        return []
    try:
        value = lookup.evaluate(expression)
        names = dir(value.kind if isinstance(value, lookup.Instance) else value)
    except Exception:
        return []
    found = {}
    for name in names:
        if type(name) is not str or not name.startswith(prefix) or not name.isidentifier():
            continue
        if name.startswith("_") and not prefix.startswith("_"):
            continue
        kind = "instance"
        if len(found) < _TYPES_MAX:
            try:
                kind = _kind(lookup.static(value, name))
            except Exception:
                pass
        found[name] = kind
    return _sorted(found)


def _parameters(text, opened, prefix):
    """name= of the call whose bracket is open."""
    lookup = session.part("lookup")
    expression = lookup.expression_before(text[:opened])
    inside = text[opened + 1:]
    current = inside[:len(inside) - len(prefix)].rstrip()
    if not expression or (current and not current.endswith((",", "("))):
        return []
    try:
        signature = session.library("inspect").signature(lookup.evaluate(expression))
    except Exception:
        return []
    given = session.library("re").findall(r"\b(\w+)[ \t]*=", inside)
    return [(parameter.name + "=", "param") for parameter in signature.parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and parameter.name.startswith(prefix) and parameter.name not in given
            and parameter.name != "self"]


# ---------------------------------------------------------------------- strings

def _in_string(text, rest, place):
    start = place.string
    typed = text[start:]
    quote = start - len(place.quote) - len(place.prefix)
    if place.brackets and text[place.brackets[-1]] == "[" and len(place.quote) == 1:
        keys = _keys(text, place, quote, rest)
        if keys:
            return start, keys
    if "\n" in typed or "b" in place.prefix:
        return len(text), []
    return _paths(text, typed)


def _keys(text, place, quote, rest):
    """Keys of what the open bracket indexes: d['k, and columns of df[['k and df.loc[:, 'k."""
    lookup = session.part("lookup")
    brackets = list(place.brackets)
    while len(brackets) > 1 and text[brackets[-2]] == "[" and not text[
            brackets[-2] + 1:brackets[-1]].strip():
        brackets.pop()
    alone = brackets[-1] == quote - 1
    try:
        keys = _keys_of(lookup.evaluate(lookup.expression_before(text[:brackets[-1]])), alone)
    except Exception:
        return []
    close = "" if rest[:1] == place.quote else place.quote + (
        "" if rest[:1] == "]" or not alone else "]")
    typed = text[place.string:]
    found = []
    for key in keys[:_ENTRIES_MAX]:
        if type(key) is str and key.startswith(typed) and "\n" not in key:
            found.append((key.replace("\\", "\\\\").replace(place.quote, "\\" + place.quote)
                          + close, "dict key"))
    return found


def _keys_of(value, alone):
    if isinstance(value, dict):
        return list(dict.keys(value)) if alone else []
    if getattr(type(value), "_ipython_key_completions_", None) is not None:
        return list(value._ipython_key_completions_())
    if not session.part("lookup").trusted(value):
        return []
    names = getattr(getattr(value, "dtype", None), "names", None)
    if names is not None:
        return list(names)
    frame = value if hasattr(value, "columns") else value.obj  # of df.loc, of a groupby
    return list(frame.columns) if hasattr(frame, "columns") else list(frame.index)


def _word(line):
    """The last word of a shell command."""
    return session.library("re").split("[\\s=:<>|;&'\"!]", line)[-1]


def _paths(text, word):
    """Files whose path the text ends with."""
    folder, slash, prefix = word.rpartition("/")
    try:
        real = os.path.expanduser(folder + slash) or "."
        with os.scandir(real) as entries:
            found = []
            for count, entry in enumerate(entries):
                if count >= _ENTRIES_MAX:
                    break
                name = entry.name
                if name.startswith(prefix) and (prefix or not name.startswith(".")):
                    found.append((name + ("/" if entry.is_dir() else ""), "path"))
    except (OSError, ValueError):
        return len(text), []
    return len(text) - len(prefix), sorted(found)


def _magics(text, stripped):
    magics = session.part("magics")
    cell = stripped.startswith("%%")
    prefix = stripped.lstrip("%")
    found = [("%%" + name, "magic") for name in sorted(magics._cell_magics)
             if name.startswith(prefix) and name.isalnum()]
    if not cell:
        found = [("%" + name, "magic") for name in sorted(magics._line_magics)
                 if name.startswith(prefix)] + found
    return len(text) - len(stripped), found


# ---------------------------------------------------------------------- imports

def _imports(text, line):
    re = session.library("re")
    match = re.match(r"\s*from\s+([\w.]+)\s+import\s+(?:[\w\s,()*]*[,(\s])?(\w*)$", line)
    if match:
        module, prefix = match.groups()
        found = dict.fromkeys(_submodules(module), "module")
        found.update(_contents(module))
        return len(text) - len(prefix), _starting(found, prefix)
    match = re.match(r"\s*(?:from\s+|import\s+(?:.*,\s*)?)([\w.]*)$", line)
    if match is None:
        return None
    package, _, prefix = match.group(1).rpartition(".")
    names = _submodules(package) if package else _top_modules()
    return len(text) - len(prefix), _starting(dict.fromkeys(names, "module"), prefix)


def _starting(found, prefix):
    return _sorted({name: kind for name, kind in found.items() if name.startswith(prefix)
                    and (prefix.startswith("_") or not name.startswith("_"))})


def _top_modules():
    found = set(sys.builtin_module_names)
    found.update(getattr(sys, "stdlib_module_names", ()))
    for folder in list(sys.path):
        if isinstance(folder, str):
            found.update(_modules_in(folder))
    return found


_SUFFIXES = (".py", ".pyc", ".so")


def _modules_in(folder):
    found = set()
    try:
        with os.scandir(folder or ".") as entries:
            for count, entry in enumerate(entries):
                if count >= _ENTRIES_MAX:
                    break
                name = entry.name.partition(".")[0]
                if name.isidentifier() and name != "__init__" and (
                        entry.name.endswith(_SUFFIXES) or (
                            "." not in entry.name and name != "__pycache__"
                            and entry.is_dir())):
                    found.add(name)
    except (OSError, ValueError):
        pass
    return found


def _folders(package):
    """Where a package lies, without importing it."""
    module = session.part("lookup").loaded(package)
    path = getattr(module, "__path__", None)
    if path is not None:
        try:
            return [folder for folder in path if isinstance(folder, str)]
        except Exception:
            return []
    parts = package.split(".")
    return [folder for folder in (os.path.join(entry, *parts) for entry in list(sys.path)
                                  if isinstance(entry, str)) if os.path.isdir(folder)]


def _submodules(package):
    found = set()
    for folder in _folders(package):
        found.update(_modules_in(folder))
    found.update(name[len(package) + 1:] for name in list(sys.modules)
                 if name.startswith(package + ".") and name.count(".") == package.count(".") + 1)
    return found


def _is_harmless(module):
    """Of the standard library, whose import does nothing but that."""
    top = module.partition(".")[0]
    return top in getattr(sys, "stdlib_module_names", sys.builtin_module_names) and (
        top not in ("this", "antigravity", "idlelib", "turtledemo", "test", "lib2to3"))


def _contents(package):
    """The names in a module: what it holds when it is loaded, else what its source
    defines."""
    lookup = session.part("lookup")
    module = lookup.loaded(package)
    if module is None and _is_harmless(package):
        try:
            module = session.library(package)
        except Exception:
            pass
    if module is not None:
        try:
            return {name: _kind(value) for name, value in list(module.__dict__.items())
                    if type(name) is str}
        except Exception:
            return {}
    parts = package.split(".")
    for entry in list(sys.path):
        if not isinstance(entry, str):
            continue
        for tail in ("__init__.py", None):
            path = os.path.join(entry, *parts)
            path = os.path.join(path, tail) if tail else path + ".py"
            try:
                with open(path, encoding="utf-8") as file:
                    source = file.read(1 << 20)
            except (OSError, ValueError):
                continue
            found = session.part("analyze")._Found()
            try:
                found.visit(compile(source, path, "exec", session._PARSE, True))
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                return {}
            return dict.fromkeys(found.names, "statement")
    return {}
