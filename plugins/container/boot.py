# What the container's interpreter is started with, by -c: it takes the rest from its
# standard input, so that an image needs nothing but Python. sys.argv[1]: how many bytes.
import os, sys
left = int(sys.argv[1])
data = b""
while left:
    piece = os.read(0, left)
    if not piece:
        os._exit(1)
    data += piece
    left -= len(piece)
parts = {}
while data:
    head, data = data.split(b"\n", 1)
    name, length = head.decode().split()
    parts[name], data = data[:int(length)], data[int(length):]
exec(compile(parts["agent"], "<kiln>/agent.py", "exec"), {"__name__": "kiln.agent", "parts": parts})
