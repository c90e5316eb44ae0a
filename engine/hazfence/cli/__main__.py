"""``python -m hazfence.cli`` is ``hazfence``."""

from hazfence.cli import main

main()
