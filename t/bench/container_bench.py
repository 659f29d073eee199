"""The container rows of bench.py: an engine of its own, Podman's API service, beside
`podman run` and `podman exec` on the same images and storage."""

import os
import pathlib
import statistics
import subprocess
import tempfile
import time

CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
HARDENED = ["--network", "none", "--init", "--read-only", "--cap-drop", "ALL", "--user",
            "65534:65534", "--security-opt", "no-new-privileges", "--memory", "256m"]


class Podman:
    def __init__(self, build, folder):
        made = subprocess.run(["t/container/images", f"{build}/images"], stdout=subprocess.PIPE,
                              text=True)
        if made.returncode != 0:
            raise RuntimeError(made.stdout.strip())
        store = made.stdout.split()[-1]
        conf = pathlib.Path(folder, "containers.conf")
        conf.write_text(CONF)
        self.env = {**os.environ, "CONTAINERS_CONF": str(conf)}
        self.words = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run",
                      "--tmpdir", f"{folder}/tmp", "--storage-driver", "overlay",
                      "--storage-opt", f"additionalimagestore={store}"]
        self.folder = folder
        self.socket = f"{folder}/engine.sock"
        self.service = subprocess.Popen(
            self.words + ["system", "service", "--time=0", f"unix://{self.socket}"],
            env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(self.socket):
            time.sleep(0.05)

    def run(self, *words):
        """Milliseconds."""
        since = time.perf_counter()
        done = subprocess.run(self.words + list(words), env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace").strip()[-300:])
        return (time.perf_counter() - since) * 1e3

    def close(self):
        subprocess.run(self.words + ["rm", "-a", "-f", "-t", "0"], env=self.env,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.service.kill()
        self.service.wait()
        subprocess.run(["umount", f"{self.folder}/root/overlay"], stderr=subprocess.DEVNULL)


def run(table, kiln, program, arguments):
    """`program` is bench.py's: runs a benchmark, gives its series."""
    with tempfile.TemporaryDirectory(prefix="kiln-bench-", ignore_cleanup_errors=True) as folder:
        podman = Podman(arguments.build, folder)
        try:
            measure(table, kiln, program, arguments, podman, folder)
        finally:
            podman.close()


def measure(table, kiln, program, arguments, podman, folder):
    config, archive = pathlib.Path(folder, "kiln.ini"), pathlib.Path(folder, "archive.ini")
    text = f"""[engine]
backends = interpreter exec container
[limits]
memory = 256M
[backend container]
socket = {podman.socket}
image = kiln-python:1
images = bash=kiln-busybox:1
pull = never
FILES
[runtime bash]
extensions = .sh
run = sh {{file}}
"""
    config.write_text(text.replace("FILES", "pool = 2"))
    archive.write_text(text.replace("FILES", "files = archive"))
    runs = arguments.peer_runs + 2
    code = ["python3", "-c", "print(1+1)"]
    podman.run("run", "--rm", *HARDENED, "kiln-python:1", *code)
    fresh = [podman.run("run", "--rm", *HARDENED, "kiln-python:1", *code) for _ in range(runs)]
    podman.run("run", "-d", "--name", "peer", *HARDENED, "kiln-python:1", "sleep", "1000")
    inside = [podman.run("exec", "peer", *code) for _ in range(runs)]
    shell = [podman.run("exec", "peer", "true") for _ in range(runs)]
    podman.run("rm", "-f", "-t", "0", "peer")
    series = program(arguments.build, "container", kiln, str(config), arguments.runs * 20)
    median = {name: statistics.median(values) for name, values in series.items()}
    copied = {held: program(arguments.build, "container", kiln, str(archive), arguments.runs, held << 20)
              for held in (0, 1, 8)}
    fresh, inside, shell = (statistics.median(values) for values in (fresh, inside, shell))
    table.row("container: cell 1+1 / interpreter's / podman exec", median["cell"],
              median["interpreter"], inside, at_most=3, faster=200)
    table.row("container: first cell from the pool / podman run", median["first_from_pool"],
              None, fresh, faster=50)
    table.row("container: session without the pool / podman run", median["cold"], None, fresh)
    table.row("container: a program by exec / podman exec", median["exec"], None, shell)
    table.row("container: a cell, 8 sessions at once / alone", median["eight_sessions"] / 8,
              median["cell"], inside)
    for held, of in copied.items():
        table.row(f"container: a cell with its files by archive, {held} MB there / direct",
                  statistics.median(of["cell"]), median["cell"], inside)
