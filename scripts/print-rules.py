"""Print docs/rules.md from the register of rules."""

from hazfence.rules.table import page

print(page(), end="")
