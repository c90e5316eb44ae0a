"""The rules: readable functions from what is known of one vehicle to what has to be said.

You are in the core. Each module is one rule or a family:

========== ==================================================================================
catalogue  the register: names, meanings, parameters, sources (``docs/rules.md`` is printed from it)
book       configuration by fence, vehicle class and hours
step       what a rule with a memory is given, and how it speaks
gates      gate_bypass, possible_bypass
zones      restricted_entry, possible_entry, curfew
prism      how certain these are: where a vehicle can have been between two fixes
speed      overspeed
routes     corridor_departure (astray: the same asked of whole columns)
stays      overstay
papers     unregistered, no_waybill, cargo_forbidden, paper_expiring, overstay past the waybill
driving    overpark, overdrive
segments   segment_overtime
health     silent, coverage_gap
trust      gnss_suspect
plates     plate_without_gps, gps_without_plate: a watch beside the engine, fed with reads and visits
capacity   zone_capacity: a watch over the visits of all vehicles
separation separation: a watch over the fixes of all vehicles (segregation: what must be kept apart)
joint      how these three say, amend and retract
terminal   emergency, collision, rollover
========== ==================================================================================

None of them reads a clock or does IO; what one remembers is a frozen state in the vehicle's record
(``hazfence.states``). ``hazfence.judge`` calls them in order and keeps the books; ``hazfence.screen``
knows which fixes they must see.
"""

from hazfence.rules.book import Params, Rulebook, RuleError
from hazfence.rules.catalogue import RULES, Parameter, Rule, rule_of

__all__ = ["RULES", "Parameter", "Params", "Rule", "RuleError", "Rulebook", "rule_of"]
