"""The command line ``hazfence``: the front door for people.

You are on the top floor. :func:`main` makes sure that nobody meets a traceback: an error that has
a mend is one line on stderr and exit code 1, one that has none is one line that says how to see
more (``HAZFENCE_DEBUG=1``) and exit code 70. The commands live in ``app.py`` and the rooms it
imports; the base install has no CLI, the extra ``hazfence[cli]`` brings it.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit."""
    try:
        from hazfence.cli.app import app
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("hazfence"):
            raise
        sys.exit(f"hazfence: the command line needs {missing.name}: pip install 'hazfence[cli]'")
    try:
        app()
    except ModuleNotFoundError as missing:
        if os.environ.get("HAZFENCE_DEBUG"):
            raise
        sys.exit(f"hazfence: this command needs {missing.name}: pip install 'hazfence[all]'")
    except Exception as error:
        if os.environ.get("HAZFENCE_DEBUG"):
            raise
        from hazfence.worker.redact import Redactor, passwords_of

        given = [value for name, value in os.environ.items() if name.startswith("HAZFENCE_")]
        redact = Redactor(password for value in (*given, *sys.argv) for password in passwords_of(value))
        text = redact(" ".join(str(error).split())) or type(error).__name__
        if isinstance(error, OSError | ValueError) or type(error).__name__ in _KNOWN:
            print(f"hazfence: {text}", file=sys.stderr)  # noqa: T201 - the user's line, not a log
            sys.exit(1)
        print(  # noqa: T201
            f"hazfence: unexpected {type(error).__name__}: {text} (HAZFENCE_DEBUG=1 shows where)",
            file=sys.stderr,
        )
        sys.exit(70)


#: Errors of parts that may not be installed, by name: their text names the place and the mend.
_KNOWN = frozenset(
    {
        "ServiceError",
        "SchemaMismatch",
        "UpkeepError",
        "MigrationError",
        "OperationalError",
        "InsufficientPrivilege",
        "ConnectionError",
        "KafkaConnectionError",
    }
)
