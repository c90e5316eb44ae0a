"""``python -m hazfence.worker``: a worker with the settings of the environment, without a supervisor."""

import os
import sys

from hazfence.worker.config import SettingsError, WorkerSettings
from hazfence.worker.main import run_worker


def main() -> int:
    """Run a worker; the exit code is 78 for settings that cannot be used."""
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_CONFIG
    return run_worker(settings)


if __name__ == "__main__":
    sys.exit(main())
