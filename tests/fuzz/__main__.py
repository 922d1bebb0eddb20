"""Fuzz the door for as long as you like. What breaks it goes to `tests/fuzz/crashers` and is a test from then on.

python -m tests.fuzz --seconds 600                 every target for so long, with random octets and words
python -m tests.fuzz dialogue --engine atheris     one target, guided by what code it reaches (pip install atheris)
"""

import argparse
import hashlib
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.words import WORDS

CRASHERS = Path(__file__).parent / "crashers"


def keep(target: str, data: bytes) -> Path:
    path = CRASHERS / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def make(rng: random.Random, words: list[bytes]) -> bytes:
    """Octets that are half words, half noise."""
    parts = []
    for _ in range(rng.choice((1, 3, 10, 40))):
        kind = rng.random()
        if kind < 0.8:
            parts.append(rng.choice(words))
        else:
            parts.append(rng.randbytes(rng.randrange(1, 6)))
    return b"".join(parts)


def _be_quiet() -> None:
    from relay.observe import logs
    from relay.sections import LogSettings

    logs.configure(LogSettings(level="error"), role="fuzz")


def run_random(name: str, seconds: float, seed: int) -> tuple[int, int]:
    """Returns how many inputs were tried, and how many broke it."""
    from tests.fuzz.targets import TARGETS

    _be_quiet()
    rng = random.Random(seed)
    target, words = TARGETS[name], WORDS[name]
    tried = broken = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = make(rng, words)
        tried += 1
        try:
            target(data)
        except Exception:
            broken += 1
            print(f"{name}: {keep(name, data)}")
            traceback.print_exc(limit=-3)
            if broken >= 5:
                break
    return tried, broken


def run_guided(name: str, seconds: float) -> None:
    import atheris

    # Ours only: to watch every library as well takes minutes before the first input.
    with atheris.instrument_imports(include=["relay"]):
        from tests.fuzz.targets import TARGETS
    _be_quiet()
    target = TARGETS[name]

    def one(data: bytes) -> None:
        try:
            target(data)
        except Exception:
            print(f"{name}: {keep(name, data)}")
            raise

    folder = tempfile.mkdtemp(prefix="pb-fuzz-")
    words = Path(folder) / "words"
    octets = ["".join(map(r"\x{:02x}".format, word)) for word in WORDS[name] if len(word) < 100]
    words.write_text("".join(f'"{one}"\n' for one in octets))
    limits = [f"-max_total_time={round(seconds)}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *limits, f"-dict={words}", f"-artifact_prefix={folder}/"], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*", choices=[[], *WORDS], help="default: all")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--engine", choices=("random", "atheris"), default="random")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    names = options.target or list(WORDS)
    if options.engine == "atheris":
        run_guided(names[0], options.seconds)
        return
    failed = False
    for name in names:
        tried, broken = run_random(name, options.seconds, options.seed)
        print(f"{name:15} {tried:9,} inputs, {broken} broke it (seed {options.seed})", flush=True)
        failed = failed or broken > 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
