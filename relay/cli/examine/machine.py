"""The machine: data directory, disk, open files."""

import os
import resource
import stat

from relay.cli.examine.finding import Finding, fail, ok, warn
from relay.config import Settings

_AREA = "machine"
#: descriptors that a door with its default number of connections and spools may want
_FILES = 4096


def examine(settings: Settings) -> list[Finding]:
    return [*_directory(settings), _files()]


def _directory(settings: Settings) -> list[Finding]:
    directory = settings.data_dir
    try:
        found = directory.stat()
    except FileNotFoundError:
        return [warn(_AREA, "data directory", f"{directory} does not exist yet", "`pillarbox up` makes it.")]
    except OSError as error:
        todo = "Let the user that runs Pillarbox into it."
        return [fail(_AREA, "data directory", f"{directory}: {error.strerror}", todo)]
    findings = []
    if not os.access(directory, os.W_OK | os.X_OK):
        findings.append(
            fail(
                _AREA,
                "data directory",
                f"{directory} cannot be written to",
                "chown it to the user that runs Pillarbox.",
            )
        )
    elif stat.S_IMODE(found.st_mode) & 0o077:
        findings.append(
            warn(
                _AREA,
                "data directory",
                f"{directory} can be read by others",
                f"chmod 700 {directory}: mail lies there.",
            )
        )
    else:
        findings.append(ok(_AREA, "data directory", str(directory)))
    disk = os.statvfs(directory)
    free, limit = disk.f_bavail * disk.f_frsize, settings.min_free_space
    says = f"{free >> 20} MiB free; mail is put off below {limit >> 20} MiB"
    if free < limit:
        findings.append(fail(_AREA, "disk", says, "Make room, or lower min_free_space."))
    elif free < 4 * limit:
        findings.append(warn(_AREA, "disk", says, "Make room soon."))
    else:
        findings.append(ok(_AREA, "disk", says))
    return findings


def _files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        todo = f"Raise it to {_FILES} or more (LimitNOFILE= in the unit, `ulimit -n`)."
        return warn(_AREA, "open files", f"a process may open {soft}", todo)
    return ok(_AREA, "open files", f"a process may open {soft}")
