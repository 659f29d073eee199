"""The governance bundle from its source of truth: generate.py CANON FOLDER.

The same canon gives the same bytes: no clock (SOURCE_DATE_EPOCH is the date of the
bundle), no order but the canon's own. A canon that contradicts itself gives no bundle.
"""
import datetime
import hashlib
import json
import os
import re
import sys


class Fault(Exception):
    pass


def rows(lines, heading):
    """The table below "## heading", as dictionaries."""
    table = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in section(lines, heading) if line.startswith("|")]
    if len(table) < 3:
        raise Fault("## %s: no table" % heading)
    names = table[0]
    for row in table[2:]:
        if len(row) != len(names):
            raise Fault("## %s: %d cells in place of %d: %s" % (heading, len(row), len(names), row[0]))
    return [dict(zip(names, row)) for row in table[2:]]


def section(lines, heading):
    try:
        start = lines.index("## " + heading) + 1
    except ValueError:
        raise Fault("no section ## %s" % heading) from None
    end = next((i for i in range(start, len(lines)) if lines[i].startswith("## ")), len(lines))
    return lines[start:end]


def policies(lines):
    found, current = [], None
    for line in section(lines, "Policies"):
        title = re.fullmatch(r"### (POL-\d{3}) (.+)", line)
        field = re.fullmatch(r"- (Owner|Consulted|Informed|Since): (.+)", line)
        if title:
            current = {"id": title[1], "title": title[2], "text": []}
            found.append(current)
        elif line.startswith("### "):
            raise Fault("no policy: %s" % line)
        elif current and field:
            current[field[1].lower()] = field[2]
        elif current:
            current["text"].append(line)
    for policy in found:
        policy["text"] = "\n".join(policy["text"]).strip()
        for name in ("owner", "since"):
            if name not in policy:
                raise Fault("%s: no %s" % (policy["id"], name))
    return found


def people(policy, name):
    return [role.strip() for role in policy.get(name, "").split(",") if role.strip()]


def check(roles, found, decisions):
    known = {role["Role"] for role in roles}
    ids = [policy["id"] for policy in found]
    for one in (ids, [decision["Id"] for decision in decisions]):
        for name in one:
            if one.count(name) > 1:
                raise Fault("%s: twice" % name)
    for policy in found:
        for role in people(policy, "owner") + people(policy, "consulted") + people(policy, "informed"):
            if role not in known:
                raise Fault("%s: no role %s" % (policy["id"], role))
    for decision in decisions:
        datetime.date.fromisoformat(decision["Date"])
        if decision["Decided by"] not in known:
            raise Fault("%s: no role %s" % (decision["Id"], decision["Decided by"]))
        for name in decision["Policies"].split(", "):
            if name not in ids:
                raise Fault("%s: no policy %s" % (decision["Id"], name))


def policy_page(policy, decisions):
    lines = ["# %s %s" % (policy["id"], policy["title"]), "",
             "Owner: %s. In force since %s." % (policy["owner"], policy["since"]), "", policy["text"], "",
             "## Decisions about it", ""]
    about = [d for d in decisions if policy["id"] in d["Policies"].split(", ")]
    lines += ["- %s (%s, %s): %s" % (d["Id"], d["Date"], d["Status"], d["Decision"]) for d in about] or ["None."]
    return "\n".join(lines) + "\n"


def roles_page(roles, found):
    lines = ["# Roles", ""]
    for role in roles:
        owned = [p["id"] for p in found if p["owner"] == role["Role"]]
        lines += ["## %s" % role["Role"], "", "Held by: %s. Reports to: %s." % (role["Held by"], role["Reports to"]),
                  "", role["Answers for"] + ".", "", "Owns: %s." % (", ".join(owned) or "no policy"), ""]
    return "\n".join(lines)


def log_page(decisions):
    lines = ["# Decision log", ""]
    for decision in sorted(decisions, key=lambda d: (d["Date"], d["Id"])):
        lines.append("%s  %s  %s (%s; %s; %s)" % (decision["Date"], decision["Id"], decision["Decision"],
                                                 decision["Decided by"], decision["Policies"], decision["Status"]))
    return "\n".join(lines) + "\n"


def matrix(roles, found):
    lines = ["policy," + ",".join(role["Role"] for role in roles)]
    for policy in found:
        letters = []
        for role in roles:
            name = role["Role"]
            letters.append("A" if name == policy["owner"] else "C" if name in people(policy, "consulted")
                           else "I" if name in people(policy, "informed") else "")
        lines.append(policy["id"] + "," + ",".join(letters))
    return "\n".join(lines) + "\n"


def main(canon, folder):
    with open(canon, encoding="utf-8", newline="") as file:
        source = file.read()
    lines = source.split("\n")
    roles, found, decisions = rows(lines, "Roles"), policies(lines), rows(lines, "Decisions")
    check(roles, found, decisions)
    bundle = {"policies/%s.md" % p["id"]: policy_page(p, decisions) for p in found}
    bundle["roles.md"] = roles_page(roles, found)
    bundle["decision-log.md"] = log_page(decisions)
    bundle["responsibilities.csv"] = matrix(roles, found)
    date = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    bundle["index.json"] = json.dumps({
        "title": lines[0].lstrip("# "),
        "source": {"name": os.path.basename(canon), "sha256": hashlib.sha256(source.encode()).hexdigest()},
        "date": date.strftime("%Y-%m-%d"),
        "files": [{"name": name, "bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
                  for name, text in sorted(bundle.items())],
    }, indent=2) + "\n"
    for name, text in bundle.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)


try:
    main(*sys.argv[1:])
except Fault as fault:
    sys.exit("%s: %s" % (sys.argv[1], fault))
