"""Counts the words of what comes on standard input, and makes a report.

    kiln run -o out --stdin FILE conf/examples/report.py -- LEAST_LENGTH
"""

import collections
import re
import sys

least = int(sys.argv[1]) if len(sys.argv) > 1 else 4
text = sys.stdin.read() or __doc__
words = re.findall(r"[^\W\d_]+", text.lower())
counts = collections.Counter(word for word in words if len(word) >= least)

with open("report.md", "w") as report:
    report.write("| word | times |\n|---|---|\n")
    for word, times in counts.most_common(5):
        report.write(f"| {word} | {times} |\n")

print(f"{len(words)} words, {len(counts)} different ones of {least} letters or more")
print("most frequent:", ", ".join(word for word, _ in counts.most_common(3)))
