"""Makes a bare repository with trees that no porcelain would make: hostile_repository.py
FOLDER. One branch each; "good" among them has the files that may be had.
"""
import hashlib
import os
import subprocess
import sys
import zlib

FOLDER = sys.argv[1]


def git(*words, data=None):
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env.update({"GIT_%s_NAME" % who: "t", "GIT_%s_EMAIL" % who: "t@example.org", "GIT_%s_DATE" % who: "1700000000 +0000"})
    return subprocess.run(["git", *words], input=data, stdout=subprocess.PIPE, env=env, check=True).stdout


def store(kind, data):
    """An object as it is, however wrong: git hash-object would refuse."""
    whole = b"%s %d\0" % (kind.encode(), len(data)) + data
    name = hashlib.sha1(whole).hexdigest()
    path = "%s/objects/%s/%s" % (FOLDER, name[:2], name[2:])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(zlib.compress(whole))
    return name


def tree(*entries):
    return store("tree", b"".join(b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(of)) for mode, name, of in entries))


def branch(name, of):
    commit = git("-C", FOLDER, "commit-tree", of, "-m", name).decode().strip()
    git("-C", FOLDER, "update-ref", "refs/heads/" + name, commit)
    return commit


git("init", "--quiet", "--bare", FOLDER)
blob = store("blob", b"print('from the repository')\n")
secret = store("blob", b"/etc/passwd")
hook = store("blob", b"#!/bin/sh\ntouch /tmp/kiln-hook-ran\n")
filters = store("blob", b"* filter=evil diff=evil\n*.py text eol=crlf ident\n")
modules = store("blob", b'[submodule "s"]\n\tpath = s\n\turl = https://example.org/s.git\n')
inner = tree(("100644", b"inner.txt", store("blob", b"inner\n")))
commit = branch("inner", inner)
branch("good", tree(
    ("100644", b".gitattributes", filters), ("100644", b".gitmodules", modules),
    ("100644", b"README", blob), ("100755", b"Readme", store("blob", b"the other case\n")),
    ("40000", b"folder", inner), ("120000", b"link", secret), ("100644", b"main.py", blob),
    ("100755", b"post-checkout", hook), ("160000", b"s", commit)))
branch("dotdot", tree(("40000", b"..", inner), ("100644", b"main.py", blob)))
branch("dotgit", tree(("40000", b".git", tree(("100755", b"hooks", hook))), ("100644", b"main.py", blob)))
branch("slash", tree(("100644", b"a/../../b", blob), ("100644", b"main.py", blob)))
branch("twice", tree(("100644", b"main.py", blob), ("100644", b"main.py", secret)))
branch("newline", tree(("100644", b"a\nb", blob), ("100644", b"main.py", blob)))
branch("huge", tree(("100644", b"huge", store("blob", os.urandom(1 << 20))), ("100644", b"main.py", blob)))
branch("bomb", tree(("100644", b"bomb", store("blob", bytes(64 << 20))), ("100644", b"main.py", blob)))
many = tree(*[("100644", b"f%05d" % i, blob) for i in range(10001)])
branch("many", many)
good = git("-C", FOLDER, "rev-parse", "refs/heads/good").strip()
tag = b"object %s\ntype commit\ntag v1\ntagger t <t@example.org> 1700000000 +0000\n\nv1\n" % good
git("-C", FOLDER, "update-ref", "refs/tags/v1", store("tag", tag))
git("-C", FOLDER, "symbolic-ref", "HEAD", "refs/heads/good")
# Hooks and configuration of the served repository are its own, and never ours.
with open(FOLDER + "/config", "a") as file:
    file.write('[filter "evil"]\n\tsmudge = touch /tmp/kiln-hook-ran\n[http]\n\treceivepack = false\n')
