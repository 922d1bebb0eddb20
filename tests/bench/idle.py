"""What `pillarbox up` costs while nothing happens: CPU of all its processes as a share of one core, and memory.

python -m tests.bench.idle --seconds 30
"""

import argparse
import tempfile
import time
from pathlib import Path

from tests.bench.measure import cpu_seconds, memory
from tests.installation import Installation

#: seconds after the start before it counts
_SETTLE = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pb-idle-") as directory:
        with Installation(Path(directory), "") as installation:
            root = installation.up().popen.pid
            time.sleep(_SETTLE)
            before = cpu_seconds(root)
            time.sleep(options.seconds)
            used = cpu_seconds(root) - before
            print(f"{used / options.seconds:.2%} of a core, {memory(root):.0f} MiB (PSS)")


if __name__ == "__main__":
    main()
