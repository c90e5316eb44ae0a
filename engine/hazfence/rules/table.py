"""The register as a page for people: ``docs/rules.md`` is what :func:`page` returns.

You are in ``hazfence.rules``, at its end. ``scripts/print-rules.py`` prints the page; a test holds the
file in ``docs/`` and the register equal.
"""

from __future__ import annotations

from hazfence.rules.catalogue import RULES, Parameter, Rule

__all__ = ["page"]

_HEAD = """# The rules

Printed from the register of the code (`python scripts/print-rules.py > docs/rules.md`); a test holds the two
equal. What phases, times and ids of events mean is in [events.md](events.md).

A rule is configured in `EngineSettings.rules` for all fences, in a fence's GeoJSON property `rules` for one:

```json
{"overspeed": {"general_kmh": 60,
               "when": [{"classes": ["tank"], "set": {"general_kmh": 50}},
                        {"hours": {"tz": "Asia/Shanghai",
                                   "windows": [{"days": "mon-sun", "from": "22:00", "to": "06:00"}]},
                         "set": {"for_s": 10}}]},
 "overpark": true,
 "silent": false}
```

`true` and `false` switch a rule on and off, an object switches it on with these parameters. `when` lists
exceptions by vehicle class, by hours or both; a later one wins, and a fence wins over the general book.
Parameters are looked up at the moment the fact begins: the entry of a stay, the fix of a speed. An unknown
rule or parameter, a value out of its range and limits that contradict one another are refused with place and
mend.
`Rulebook.all_on()` switches every rule on, with the law's numbers.
"""


def page() -> str:
    """The page, Markdown."""
    rows = [
        "| rule | 中文 | meaning | severity | fires in silence | on by default |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rule in RULES:
        link = f"[`{rule.kind}`](#{rule.kind})"
        flags = f"{rule.severity} | {_yes(rule.silence)} | {_yes(rule.on)}"
        rows.append(f"| {link} | {rule.chinese} | {rule.english} | {flags} |")
    return "\n".join([_HEAD, *rows, "", *(_section(rule) for rule in RULES)]).rstrip() + "\n"


def _section(rule: Rule) -> str:
    lines = [
        f"## {rule.kind}",
        "",
        f"{rule.chinese}. {rule.english}.",
        "",
        f"* begins: {rule.begins}; ends: {rule.ends}",
        f"* example: {rule.example}",
        f"* source: {rule.source}",
        f"* code: `hazfence/rules/{rule.module}.py`",
        "",
    ]
    if rule.parameters:
        lines += ["| parameter | unit | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_parameter(p) for p in rule.parameters]
        lines.append("")
    return "\n".join(lines)


def _parameter(p: Parameter) -> str:
    default = (
        "none" if p.default is None else _yes(p.default) if isinstance(p.default, bool) else f"{p.default:g}"
    )
    if p.form in ("texts", "segments", "hours"):
        default = "none"
    where = " (only in a fence)" if p.only_fence else " (not in a fence)" if p.only_general else ""
    return f"| `{p.name}` | {p.unit or '1'} | {default} | {p.meaning}{where} |"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
