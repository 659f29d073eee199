#!/usr/bin/python3
"""The peer: executes a notebook in ipykernel through nbclient, without a network.

    t/real/jupyter.py IN.ipynb OUT.ipynb SECONDS

Errors in cells do not end it. As in a session of Kiln, nothing is to be reached but a
loopback of its own, which ipykernel's sockets need."""
import ctypes
import fcntl
import os
import socket
import struct
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def leave_network():
    flags = CLONE_NEWNET | (CLONE_NEWUSER if os.getuid() else 0)
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        number = ctypes.get_errno()
        sys.exit("t/real/jupyter.py: no network namespace: %s" % os.strerror(number))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main():
    source, made, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    leave_network()
    import nbclient
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=seconds, allow_errors=True,
                                     kernel_name="python3")
    try:
        client.execute()
    except nbclient.exceptions.CellTimeoutError:
        sys.exit("a cell's time of %d s was up" % seconds)
    nbformat.write(notebook, made)


if __name__ == "__main__":
    main()
