#!/usr/bin/python3
"""Compiles the runner's files for sources.c: freeze.py FILE.py... > interpreter_bytecode.h

Run it with the Python whose libpython the plugin links: bytecode belongs to one
version, and marshalled code of another would be refused at start."""
import marshal
import os
import sys

entries = []
for number, path in enumerate(sys.argv[1:]):
    name = os.path.basename(path)[:-3]
    if name == "freeze":
        continue
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), "<kiln>/%s.py" % name, "exec", dont_inherit=True)
    data = marshal.dumps(code)
    print("static const unsigned char bytecode_%d[] = {" % number)
    for start in range(0, len(data), 32):
        print(",".join(map(str, data[start:start + 32])) + ",")
    print("};")
    entries.append('{"%s", bytecode_%d, %d}' % (name, number, len(data)))
print("""static const struct {
    const char *name;
    const unsigned char *data;
    size_t length;
} bytecode[] = {""")
print(",\n".join(entries + ["{NULL, NULL, 0}"]) + "};")
