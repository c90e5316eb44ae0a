"""Five tracks for every rule: fires, just not fires, fires in silence, ends, late data.

Each rule of the catalogue names the tests that drive a hand-made track through it and compare with a
verdict computed by hand. Where a case cannot be, it says why. A new rule without its five fails here.
"""

from __future__ import annotations

import importlib
import inspect
from typing import NamedTuple

import pytest

from hazfence import Kind
from hazfence.rules import RULES, Rule


class Never(str):
    """Why there can be no such track."""

    __slots__ = ()


class Tracks(NamedTuple):
    """One ``module::test`` a case, of this folder, or why there is none."""

    fires: str
    just_not: str
    in_silence: str
    ends: str
    late: str


CORE, SURE, LATE = "test_core_rules::test_", "test_core_certainty::test_", "test_rules_late::test_"
ZONES, ROUTES, DRIVING = "test_rules_zones::test_", "test_rules_routes::test_", "test_rules_driving::test_"
PAPERS, EDGES = "test_rules_papers::test_", "test_rules_papers_edges::test_"
HEALTH, JOINT, APART = "test_rules_health::test_", "test_rules_joint::test_", "test_rules_separation::test_"

CROSSING = Never("a crossing lies between two fixes; nothing is judged before the second one")

TRACKS: dict[Kind, Tracks] = {
    Kind.GATE_BYPASS: Tracks(
        f"{CORE}in_and_out_away_from_the_checkpoint_is_a_breach_each",
        f"{CORE}the_tolerance_counts_from_the_rim_of_the_checkpoint",
        CROSSING,
        f"{CORE}in_and_out_away_from_the_checkpoint_is_a_breach_each",
        f"{LATE}a_late_fix_at_the_checkpoint_takes_the_bypass_back",
    ),
    Kind.POSSIBLE_BYPASS: Tracks(
        f"{SURE}a_bypass_is_a_breach_only_without_time_to_pass_a_gate",
        f"{CORE}a_crossing_that_no_near_fixes_witness_is_no_breach",
        CROSSING,
        f"{SURE}a_bypass_is_a_breach_only_without_time_to_pass_a_gate",
        f"{SURE}a_fix_that_comes_late_makes_it_certain",
    ),
    Kind.RESTRICTED_ENTRY: Tracks(
        f"{CORE}a_restricted_zone_entered_is_a_breach_until_it_is_left",
        f"{SURE}first_seen_just_inside_a_restricted_zone_is_no_breach_until_it_is_well_inside",
        Never("without a fix inside nothing is certain: in silence it is a possible_entry"),
        f"{CORE}a_restricted_zone_entered_is_a_breach_until_it_is_left",
        f"{LATE}a_late_fix_outside_moves_the_entry",
    ),
    Kind.POSSIBLE_ENTRY: Tracks(
        f"{CORE}a_restricted_zone_between_two_fixes_is_no_breach",
        f"{SURE}first_seen_well_inside_is_a_breach_at_once",
        # Only where the zone is in force by the hour.
        f"{CORE}a_schedule_begins_and_ends_a_visit_in_silence_and_in_fixes_alike",
        f"{SURE}a_stay_just_inside_ends_as_it_was",
        f"{LATE}a_late_fix_well_inside_ends_the_doubt_at_its_own_moment",
    ),
    Kind.CURFEW: Tracks(
        f"{ZONES}a_curfew_lasts_as_long_as_the_stay_and_the_closed_hours_overlap",
        f"{ZONES}leaving_as_it_closes_is_no_curfew",
        f"{ZONES}a_curfew_fires_and_ends_in_silence",
        f"{ZONES}a_curfew_begins_with_the_entry_and_ends_with_the_exit",
        f"{ZONES}a_curfew_said_in_silence_is_taken_back_when_it_had_left_in_time",
    ),
    Kind.OVERSPEED: Tracks(
        f"{CORE}overspeed_opens_after_its_duration_and_closes_with_its_last_fast_fix",
        f"{CORE}overspeed_for_just_the_duration_is_none",
        Never("the time over the limit is that from fix to fix: without one nobody is fast"),
        f"{CORE}a_gap_ends_it_at_the_last_fast_fix",
        f"{LATE}a_late_fix_at_the_limit_takes_the_overspeed_back",
    ),
    Kind.CORRIDOR_DEPARTURE: Tracks(
        f"{ROUTES}off_the_route_for_too_long_begins_at_its_deadline_and_ends_on_the_route",
        f"{ROUTES}off_the_route_for_just_the_time_allowed_is_none",
        f"{ROUTES}off_the_route_in_silence",
        f"{ROUTES}leaving_the_district_ends_it",
        f"{ROUTES}what_silence_said_is_taken_back_when_a_fix_shows_it_on_the_route_in_time",
    ),
    Kind.UNREGISTERED: Tracks(
        f"{PAPERS}a_vehicle_in_no_table_is_unregistered_for_the_whole_stay",
        f"{EDGES}approved_for_just_the_stay_is_fine",
        f"{PAPERS}approval_ends_it_and_its_end_begins_it_in_silence_too",
        f"{PAPERS}approval_ends_it_and_its_end_begins_it_in_silence_too",
        f"{EDGES}an_approval_that_ran_out_in_silence_is_taken_back_when_it_had_left",
    ),
    Kind.NO_WAYBILL: Tracks(
        f"{PAPERS}a_waybill_not_approved_or_withdrawn_or_of_another_day_is_none",
        f"{EDGES}a_waybill_for_just_the_stay_is_fine",
        f"{EDGES}a_district_in_force_by_the_hour_is_entered_without_a_waybill_in_silence",
        f"{PAPERS}without_a_waybill_until_one_is_approved",
        f"{EDGES}a_late_fix_outside_moves_the_entry_without_papers",
    ),
    Kind.CARGO_FORBIDDEN: Tracks(
        f"{PAPERS}forbidden_cargo_in_the_fence_that_forbids_it",
        f"{EDGES}goods_before_or_after_the_stay_are_fine",
        f"{EDGES}a_waybill_that_begins_and_ends_in_silence_begins_and_ends_the_breach",
        f"{PAPERS}of_two_waybills_at_once_each_is_held_against_the_fence",
        f"{EDGES}goods_that_began_in_silence_are_taken_back_when_it_had_left",
    ),
    Kind.PAPER_EXPIRING: Tracks(
        f"{PAPERS}papers_are_warned_of_thirty_and_seven_days_before_and_on_the_day",
        f"{EDGES}a_paper_is_warned_of_at_its_own_moments_and_not_one_microsecond_sooner",
        f"{PAPERS}papers_are_warned_of_thirty_and_seven_days_before_and_on_the_day",
        f"{EDGES}a_paper_is_warned_of_at_its_own_moments_and_not_one_microsecond_sooner",
        f"{EDGES}a_renewal_that_comes_late_leaves_only_what_was_said_before_it",
    ),
    Kind.OVERSTAY: Tracks(
        f"{CORE}overstay_noticed_by_a_fix_is_the_same_as_in_silence",
        f"{CORE}a_stay_of_just_the_limit_is_no_overstay",
        f"{CORE}overstay_fires_in_silence_at_its_deadline_and_closes_with_the_visit",
        f"{CORE}overstay_fires_in_silence_at_its_deadline_and_closes_with_the_visit",
        f"{CORE}overstay_said_in_silence_is_retracted_when_a_fix_shows_an_exit_in_time",
    ),
    Kind.OVERPARK: Tracks(
        f"{DRIVING}standing_too_long_begins_at_the_deadline_and_ends_when_it_moves_again",
        f"{DRIVING}standing_for_just_the_limit_is_none",
        f"{DRIVING}standing_in_silence",
        f"{DRIVING}standing_too_long_begins_at_the_deadline_and_ends_when_it_moves_again",
        f"{DRIVING}a_late_fix_that_moved_breaks_the_stand",
    ),
    Kind.OVERDRIVE: Tracks(
        f"{DRIVING}four_hours_without_a_rest",
        f"{DRIVING}four_hours_and_then_a_rest_is_none",
        f"{DRIVING}silence_vouches_for_driving_on_for_five_minutes",
        f"{DRIVING}four_hours_without_a_rest",
        f"{DRIVING}a_late_fix_that_stands_shows_the_rest",
    ),
    Kind.SEGMENT_OVERTIME: Tracks(
        f"{ROUTES}a_segment_too_long_to_that_checkpoint_is_said_when_it_is_reached",
        f"{ROUTES}a_segment_of_just_its_longest_time_is_none",
        f"{ROUTES}a_segment_that_leads_nowhere_fires_in_silence_and_ends_at_the_next_checkpoint",
        f"{ROUTES}a_segment_that_leads_nowhere_fires_in_silence_and_ends_at_the_next_checkpoint",
        f"{ROUTES}a_late_fix_at_the_checkpoint_takes_the_overtime_back",
    ),
    Kind.SILENT: Tracks(
        f"{HEALTH}silence_noticed_by_the_next_fix_is_the_same",
        f"{HEALTH}silent_for_just_the_limit_is_none",
        f"{HEALTH}silent_for_longer_than_the_limit_until_the_next_fix",
        f"{HEALTH}silent_for_longer_than_the_limit_until_the_next_fix",
        f"{HEALTH}a_fix_that_comes_late_takes_silence_back",
    ),
    Kind.COVERAGE_GAP: Tracks(
        f"{HEALTH}a_gap_is_recorded_between_its_two_fixes",
        f"{HEALTH}a_gap_is_recorded_between_its_two_fixes",
        Never("a gap is one when its second fix is there; until then the vehicle is silent"),
        f"{HEALTH}a_gap_is_recorded_between_its_two_fixes",
        f"{LATE}a_late_fix_within_a_gap_takes_it_back_or_makes_it_shorter",
    ),
    Kind.GNSS_SUSPECT: Tracks(
        f"{HEALTH}a_jump_that_the_speeds_deny_is_a_spoof",
        f"{HEALTH}as_far_as_it_can_have_driven_is_not_suspect",
        Never("it is a fix that is suspect"),
        f"{HEALTH}a_frozen_place_is_said_after_a_minute_and_ends_when_it_moves",
        f"{LATE}a_late_fix_that_tells_the_speed_between_takes_the_suspicion_back",
    ),
    Kind.PLATE_WITHOUT_GPS: Tracks(
        f"{JOINT}a_read_without_gps_is_said_when_its_time_is_up",
        f"{JOINT}they_may_be_two_minutes_apart",
        f"{JOINT}a_read_without_gps_is_said_when_its_time_is_up",
        f"{JOINT}a_read_without_gps_is_said_when_its_time_is_up",
        f"{JOINT}a_read_without_gps_is_said_when_its_time_is_up",
    ),
    Kind.GPS_WITHOUT_PLATE: Tracks(
        f"{JOINT}a_passage_without_a_read_is_said_and_taken_back_by_a_late_read",
        f"{JOINT}they_may_be_two_minutes_apart",
        f"{JOINT}a_passage_without_a_read_is_said_and_taken_back_by_a_late_read",
        f"{JOINT}a_passage_without_a_read_is_said_and_taken_back_by_a_late_read",
        f"{JOINT}a_passage_without_a_read_is_said_and_taken_back_by_a_late_read",
    ),
    Kind.ZONE_CAPACITY: Tracks(
        f"{JOINT}more_than_the_yard_holds_from_the_first_too_many_until_it_holds_again",
        f"{JOINT}who_leaves_makes_room_at_that_moment",
        Never("it counts visits, and nobody comes or goes while all are silent"),
        f"{JOINT}more_than_the_yard_holds_from_the_first_too_many_until_it_holds_again",
        f"{JOINT}in_any_order_of_arrival_the_same_stands",
    ),
    Kind.SEPARATION: Tracks(
        f"{APART}fires_at_the_deadline_and_ends_with_the_last_moment_near",
        f"{APART}a_moment_short_of_the_limit_is_none",
        f"{APART}fires_in_silence_while_the_last_fix_is_not_old_and_is_retracted_by_none",
        f"{APART}fires_at_the_deadline_and_ends_with_the_last_moment_near",
        f"{APART}a_late_fix_takes_back_what_was_said_without_it",
    ),
} | dict.fromkeys(
    (Kind.EMERGENCY, Kind.COLLISION, Kind.ROLLOVER),
    Tracks(
        # Just not: every other bit is set.
        f"{HEALTH}an_alarm_bit_is_an_event_from_the_first_fix_with_it_to_the_first_without",
        f"{HEALTH}an_alarm_bit_is_an_event_from_the_first_fix_with_it_to_the_first_without",
        Never("the terminal cries by a fix; the same track shows that silence neither begins nor ends it"),
        f"{HEALTH}an_alarm_bit_is_an_event_from_the_first_fix_with_it_to_the_first_without",
        f"{LATE}a_late_fix_with_or_without_the_bit_puts_the_alarm_right",
    ),
)
CASES = [
    pytest.param(kind, case, test, id=f"{kind}-{case}")
    for kind, tracks in TRACKS.items()
    for case, test in tracks._asdict().items()
]


def test_every_rule_has_its_five_tracks_and_no_other_kind_has() -> None:
    assert set(TRACKS) == {rule.kind for rule in RULES}


@pytest.mark.parametrize(("kind", "case", "test"), CASES)
def test_each_track_is_there(kind: Kind, case: str, test: str) -> None:
    if isinstance(test, Never):
        assert case == "in_silence", (
            f"{kind}: every rule can be driven to fire, not to fire, end and be put right"
        )
        return
    place, _, name = test.partition("::")
    module = importlib.import_module(f".{place}", __package__)
    assert callable(getattr(module, name, None)), f"{kind}: no {test}"
    assert str(kind) in inspect.getsource(module), f"{place} does not speak of {kind}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.kind))
def test_a_rule_that_fires_in_silence_is_shown_to(rule: Rule) -> None:
    assert not (rule.silence and isinstance(TRACKS[rule.kind].in_silence, Never))
