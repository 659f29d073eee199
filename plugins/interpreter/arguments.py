"""The words and options of a magic's line. `session` is session.py."""

UsageError = session.part("shell").UsageError


def split(line):
    try:
        return session.library("shlex").split(line)
    except ValueError as error:
        raise UsageError("%s: %s" % (error, line)) from None


def options(line, flags, valued=""):
    """({letter: value}, the rest) of a line that begins with -options."""
    found = {}
    rest = line.lstrip()
    while rest.startswith("-") and len(rest) > 1 and rest[1] in flags + valued:
        word, _, after = rest.partition(" ")
        letter = word[1]
        if letter in valued:
            value = word[2:]
            if not value:
                value, _, after = after.lstrip().partition(" ")
            found[letter] = value
        else:
            for letter in word[1:]:
                found[letter] = True
        rest = after.lstrip()
    return found, rest


def number(found, letter, default, name):
    value = found.get(letter, default)
    try:
        return int(value)
    except ValueError:
        raise UsageError("%%%s -%s wants a number, not %s" % (name, letter, value)) from None
