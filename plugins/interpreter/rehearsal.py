"""What a worker does while it waits for its session, so that the first cell, and the first
use of a library, find their pages written: a page that is written for the first time after
the fork costs 10 to 14 microseconds, and a first DataFrame touches 1,850 of them. `session`
is session.py, whose forget() takes back what is left of it."""

# The ways of a cell, not what they compute: an expression, statements, output, an error,
# and again.
_CELLS = (
    "x = 1\nx",
    "print('x')\nx = [i for i in range(3)]",
    "def f(a, b=1):\n    return a + b\nf(1)",
    "1/0",
    "import math\nfor i in range(3):\n    x = math.sqrt(i)\nprint(x)",
    "'text'",
    "1+1",
)

_LIBRARIES = {
    "numpy": "import numpy as np\n"
             "a = np.arange(12.0).reshape(3, 4)\n"
             "print(a.sum(axis=0), a @ a.T, a.mean(), np.sqrt(a)[a > 2])\n"
             "a",
    "pandas": "import pandas as pd\n"
              "d = pd.DataFrame({'a': [1, 2, 3], 'b': [1.5, 2.5, 3.5], 'c': list('xyx')})\n"
              "print(d, d.describe(), d.groupby('c').mean(numeric_only=True), d.dtypes)\n"
              "d['s'] = d.a * 2\n"
              "d[d.a > 1].sort_values('b').merge(d, on='a')",
    "matplotlib.pyplot": "import matplotlib.pyplot as plt\n"
                         "plt.plot([1, 2, 3]); plt.title('t'); plt.xlabel('x')",
}


def source(turn):
    """The code of a turn: the libraries first, then cells as people write them."""
    wanted = (session.channel.option("rehearse") or "").replace(",", " ").split()
    modules = session._sys_modules
    turns = [text for name, text in _LIBRARIES.items() if name in wanted and name in modules]
    turns.extend(_CELLS)
    return turns[turn] if turn < len(turns) else "%d+1" % turn
