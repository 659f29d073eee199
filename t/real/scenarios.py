"""The JSON Schema test suite as scenarios of `kiln eval`, and its pass rate.

    scenarios.py --build BUILD [--keep FOLDER] [--only GLOB] [--jobs N]

A task is a schema with instances; its canonical bundle is the file of verdicts that the
suite's authors wrote. Two reference solutions, both Debian's: python3-jsonschema (in the
interpreter backend) and node-ajv (in a process each). Each task is solved by each of them
under `kiln eval`, and bare, without Kiln and all in one process: what they know of JSON
Schema is theirs, so the rates must be the same, task by task.
"""
import argparse
import fnmatch
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

SUITE = "/usr/share/json-schema-test-suite/tests"
NODE_PATH = "/usr/share/nodejs"

PYTHON = """import json, sys
from jsonschema import validators

def verdicts(draft, schema, instances):
    kind = {"draft3": validators.Draft3Validator, "draft4": validators.Draft4Validator,
            "draft6": validators.Draft6Validator, "draft7": validators.Draft7Validator}[draft]
    found = []
    for instance in instances:
        try:
            found.append(kind(schema).is_valid(instance))
        except Exception:
            found.append(None)  # a reference that cannot be had
    return found

# As a program: DRAFT, in a task's folder. The bare run has one for all: DRAFT=FOLDER ...
for word in sys.argv[1:]:
    draft, _, folder = word.partition("=")
    folder = folder or "."
    found = verdicts(draft, json.load(open(folder + "/schema.json")), json.load(open(folder + "/instances.json")))
    with open(folder + "/verdicts.json", "w") as file:
        json.dump(found, file)
"""

NODE = """const fs = require('fs'), Ajv = require('ajv');
const read = (name) => JSON.parse(fs.readFileSync(name));
// As a program: draft6|draft7, in a task's folder. The bare run has one for all: DRAFT=FOLDER ...
for (const word of process.argv.slice(2)) {
  const [draft, folder] = word.includes('=') ? word.split('=') : [word, '.'];
  const found = read(folder + '/instances.json').map((instance) => {
    try {
      const ajv = new Ajv({ logger: false });
      if (draft === 'draft6') ajv.addMetaSchema(require('ajv/lib/refs/json-schema-draft-06.json'));
      return ajv.validate(read(folder + '/schema.json'), instance);
    } catch (error) { return null; }
  });
  fs.writeFileSync(folder + '/verdicts.json', JSON.stringify(found));
}
"""

SOLUTIONS = {
    "python": {"file": "solve.py", "text": PYTHON, "drafts": ("draft3", "draft4", "draft6", "draft7"),
               "bare": ["/usr/bin/python3"], "set": ["backend interpreter.preload=jsonschema"]},
    "node": {"file": "solve.js", "text": NODE, "drafts": ("draft6", "draft7"), "bare": ["node"], "set": ["sandbox.env=NODE_PATH=" + NODE_PATH]},
}


def tasks(drafts, only):
    for draft in drafts:
        for path in sorted(glob.glob("%s/%s/**/*.json" % (SUITE, draft), recursive=True)):
            stem = os.path.relpath(path, SUITE)[:-len(".json")]
            with open(path, encoding="utf-8") as file:
                for number, group in enumerate(json.load(file)):
                    name = "%s/%d" % (stem, number)
                    if fnmatch.fnmatch(name, only):
                        yield name, draft, group


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def convert(folder, solution, only):
    """Scenarios below the folder; their names in order."""
    names, sections = [], []
    write("%s/%s" % (folder, solution["file"]), solution["text"])
    for name, draft, group in tasks(solution["drafts"], only):
        place = name.replace("/", "-").replace(".", "-")
        write("%s/%s/schema.json" % (folder, place), json.dumps(group["schema"]))
        write("%s/%s/instances.json" % (folder, place), json.dumps([test["data"] for test in group["tests"]]))
        write("%s/%s/canonical/verdicts.json" % (folder, place), json.dumps([test["valid"] for test in group["tests"]]))
        title = "%s: %s" % (name, group["description"])
        sections.append("[scenario t%d]\nname = %s\ncode = %s\nargs = %s\ninputs = %s/schema.json %s/instances.json\n"
                        "expected = %s/canonical\nnormalise = json:*.json\n"
                        % (len(names), title, solution["file"], draft, place, place, place))
        names.append((title, place, draft))
    for start in range(0, len(sections), 400):  # a configuration file is at most 1 MiB
        write("%s/%04d.ini" % (folder, start), "\n".join(sections[start:start + 400]))
    return names


def under_kiln(kiln, folder, solution, jobs):
    argv = [kiln, "eval", folder, "--json"] + (["--jobs", str(jobs)] if jobs else [])
    for setting in solution["set"]:
        argv += ["--set", setting]
    start = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        sys.exit("scenarios.py: kiln eval ended with %d" % done.returncode)
    return json.loads(done.stdout)["scenarios"], time.monotonic() - start


def bare(folder, solution, names):
    """Whether each task is solved without Kiln."""
    passed, start = [], time.monotonic()
    words = ["%s=%s" % (draft, place) for _, place, draft in names]
    subprocess.run(solution["bare"] + [solution["file"]] + words, cwd=folder, check=True, stdin=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_PATH": NODE_PATH})
    for _, place, _ in names:
        here = os.path.join(folder, place)
        with open(here + "/verdicts.json") as made, open(here + "/canonical/verdicts.json") as wanted:
            passed.append(json.load(made) == json.load(wanted))
    return passed, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--keep")
    parser.add_argument("--only", default="*")
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory() as temporary:
        base = os.path.abspath(options.keep or temporary)
        print("%-8s %6s %14s %14s %10s %10s" % ("solution", "tasks", "under kiln", "bare", "kiln s", "bare s"))
        for label, solution in SOLUTIONS.items():
            folder = os.path.join(base, label)
            names = convert(folder, solution, options.only)
            outcomes, seconds = under_kiln(os.path.join(options.build, "kiln"), folder, solution, options.jobs)
            reference, bare_seconds = bare(folder, solution, names)
            passed = [outcome["passed"] for outcome in outcomes]
            print("%-8s %6d %6d %6.2f%% %6d %6.2f%% %10.1f %10.1f" % (
                label, len(names), sum(passed), 100 * sum(passed) / len(names), sum(reference),
                100 * sum(reference) / len(names), seconds, bare_seconds))
            for (title, _, _), outcome, good in zip(names, outcomes, reference):
                if outcome["passed"] != good:
                    worst = 1
                    print("  differs: %s: kiln %s, bare %s: %s" % (title, outcome["passed"], good, outcome["reason"]))
    return worst


if __name__ == "__main__":
    sys.exit(main())
