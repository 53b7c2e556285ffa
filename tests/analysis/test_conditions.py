"""Every condition on planted runs: met, a claim is decided; not met, it is untested, with the reason."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd
import pytest

from palimpsest.analysis import claims
from palimpsest.foundation.errors import ParameterError
from tests.analysis import made_up
from tests.analysis.made_up import cell, table
from tests.training.presets import PROJECT

NOISE = [-0.01, -0.005, 0.0, 0.005, 0.01]
GROUPS = {
    "ours": {"model": "nema_lite"},
    "other": {"model": "write_all"},
    "third": {"model": "full_attention"},
}
HOLDS = {"kind": "value", "group": "ours", "metric": "test_accuracy_on", "bound": {"at_least": 0.6}}
BETTER = {
    "kind": "difference",
    "group": "ours",
    "metric": "test_accuracy_on",
    "minus": {"group": "other"},
    "bound": {"at_least": 0.05},
}


def around(mean: float) -> list[float]:
    return [mean + step for step in NOISE]


def runs(ours: float = 0.9, other: float = 0.7, third: float = 0.2, flags: str = "", flagged: int = 5) -> pd.DataFrame:
    found = table(
        cell("nema_lite", {"test_accuracy_on": around(ours), "test_loss_on": around(0.3)}),
        cell("write_all", {"test_accuracy_on": around(other)[::-1], "test_loss_on": around(0.4)}),
        cell("full_attention", {"test_accuracy_on": around(third), "test_loss_on": around(2.0)}),
    )
    found.loc[(found["model"] == "nema_lite") & (found["seed"] < flagged), "flags"] = flags
    return found


def decide(tmp_path, table_of_runs: pd.DataFrame, *tests: dict[str, Any], known=None, **more: Any) -> dict[str, Any]:
    asked = made_up.claims(tmp_path, GROUPS, *tests, **more)
    known = made_up.known(table_of_runs) if known is None else known
    (row,) = claims.decide(table_of_runs, asked, 0.95, resolved=known).table.to_dict("records")
    assert len(row["in_short"].split()) <= 8
    return row


class TestLearnt:
    def test_a_baseline_that_has_learnt(self, tmp_path):
        row = decide(tmp_path, runs(), BETTER, conditions={"learnt": [{"groups": ["other"]}]})
        assert (row["verdict"], row["conditions"]) == ("holds", "5 of 5 met")

    def test_a_baseline_that_never_learns(self, tmp_path):
        row = decide(tmp_path, runs(), BETTER, conditions={"learnt": [{"groups": ["third"]}]})
        assert row["verdict"] == "untested"
        assert "third has not learnt (test_accuracy_on: third 0.2 of 0.55)" in row["reason"]
        assert row["in_short"] == "third has not learnt"

    def test_one_of_several_is_enough(self, tmp_path):
        row = decide(tmp_path, runs(), HOLDS, conditions={"learnt": [{"groups": ["third", "other"]}]})
        assert row["verdict"] == "holds"
        row = decide(tmp_path, runs(other=0.3), HOLDS, conditions={"learnt": [{"groups": ["third", "other"]}]})
        assert "no model has learnt" in row["reason"]

    @pytest.mark.parametrize(("share", "verdict"), [(0.6, "holds"), (0.7, "untested")])
    def test_by_a_share_of_what_lies_between_floor_and_ceiling(self, tmp_path, share, verdict):
        learnt = [{"groups": ["other"], "share": share}]  # the floor is 0.1: needs 0.64 or 0.73, and has 0.7
        assert decide(tmp_path, runs(), HOLDS, conditions={"learnt": learnt})["verdict"] == verdict

    def test_above_the_informed_floor(self, tmp_path):
        with_floor = runs().assign(floor=0.5)  # needs 0.75, and has 0.7
        row = decide(tmp_path, with_floor, HOLDS, conditions={"learnt": [{"groups": ["other"]}]})
        assert (row["verdict"], row["in_short"]) == ("untested", "other has not learnt")

    @pytest.mark.parametrize(
        ("metric", "verdict"), [("test_accuracy_at_20", "untested"), ("test_accuracy_on", "holds")]
    )
    def test_above_the_informed_floor_of_the_slice_that_a_metric_is_about(self, tmp_path, metric, verdict):
        by_slice = runs().assign(floor_at_20=0.5, test_accuracy_at_20=lambda table: table["test_accuracy_on"])
        learnt = [{"groups": ["other"], "metric": metric}]
        row = decide(tmp_path, by_slice, HOLDS, conditions={"learnt": learnt})
        assert row["verdict"] == verdict

    def test_where_the_floor_is_the_ceiling_nothing_can_be_learnt(self, tmp_path):
        by_slice = runs().assign(floor_at_2=1.0, test_accuracy_at_2=1.0)
        learnt = [{"groups": ["other"], "metric": "test_accuracy_at_2"}]
        row = decide(tmp_path, by_slice, HOLDS, conditions={"learnt": learnt})
        assert (row["verdict"], row["in_short"]) == ("untested", "the informed floor is the ceiling")

    def test_may_be_asked_on_one_track_and_of_one_test(self, tmp_path):
        learnt = [{"groups": ["third"], "tracks": ["published"]}]
        assert decide(tmp_path, runs(), HOLDS, conditions={"learnt": learnt})["verdict"] == "holds"
        row = decide(tmp_path, runs(), {**HOLDS, "conditions": {"learnt": [{"groups": ["third"]}]}}, HOLDS)
        assert row["verdict"] == "untested"

    def test_a_group_without_a_run(self, tmp_path):
        groups = {**GROUPS, "none": {"model": "oracle_writer"}}
        asked = made_up.claims(tmp_path, groups, HOLDS, conditions={"learnt": [{"groups": ["none"]}]})
        (row,) = claims.decide(runs(), asked, 0.95, resolved=made_up.known(runs())).table.to_dict("records")
        assert (row["verdict"], row["in_short"]) == ("untested", "this preset has no run of it")


class TestCapacity:
    @pytest.mark.parametrize(
        ("condition", "slots", "verdict"),
        [
            ({"items": 100}, 128, "holds"),
            ({"items": 100}, 100, "holds"),
            ({"items": 100}, 24, "untested"),
            ({"items": "length"}, 40, "holds"),
            ({"items": "lengths"}, 59, "untested"),
            ({"fewer_than": 64}, 63, "holds"),
            ({"fewer_than": 64}, 64, "untested"),
        ],
    )
    def test_is_compared_with_what_is_asked(self, tmp_path, condition, slots, verdict):
        known = made_up.known(runs(), config={"num_slots": slots}, length=40, lengths=[20, 60])
        row = decide(tmp_path, runs(), HOLDS, known=known, conditions={"capacity": [{"group": "ours", **condition}]})
        assert row["verdict"] == verdict
        if verdict == "untested":
            assert f"nema_lite has {slots} slots" in row["reason"]

    def test_that_is_not_known_is_not_met(self, tmp_path):
        row = decide(tmp_path, runs(), HOLDS, conditions={"capacity": [{"group": "ours", "items": 1}]})
        assert (row["verdict"], row["in_short"]) == ("untested", "slots of nema_lite are not known")

    @pytest.mark.parametrize("limits", [{}, {"items": 1, "fewer_than": 2}])
    def test_wants_one_limit(self, tmp_path, limits):
        with pytest.raises(ParameterError, match="not one limit; allowed: one of items, fewer_than"):
            made_up.claims(tmp_path, GROUPS, HOLDS, conditions={"capacity": [{"group": "ours", **limits}]})


class TestSizes:
    @pytest.mark.parametrize(
        ("length", "verdict"), [(64, "holds"), (128, "holds"), (63, "untested"), ([20, 100], "holds")]
    )
    def test_are_within_what_the_claim_speaks_of(self, tmp_path, length, verdict):
        sizes = [{"parameter": "length", "limits": {"min": 64}}]
        known = made_up.known(runs(), length=length)
        row = decide(tmp_path, runs(), HOLDS, known=known, conditions={"sizes": sizes})
        assert row["verdict"] == verdict
        if verdict == "untested":
            assert row["in_short"] == "length is 63, claimed for min 64"

    def test_of_no_parameter_of_the_task_are_a_mistake(self, tmp_path):
        sizes = [{"parameter": "lenght", "limits": {"min": 64}}]
        with pytest.raises(ParameterError, match="'lenght': the task has no such parameter; allowed: num_test"):
            decide(tmp_path, runs(), HOLDS, conditions={"sizes": sizes})


class TestDegenerate:
    @pytest.mark.parametrize("flag", ["writes_nothing", "writes_everything", "memory_unused", "at_floor"])
    def test_runs_decide_nothing(self, tmp_path, flag):
        row = decide(tmp_path, runs(flags=f"x;{flag}"), HOLDS)
        assert row["verdict"] == "untested"
        assert "in 5 of 5 seeds" in row["reason"]

    @pytest.mark.parametrize(("flagged", "verdict"), [(2, "holds"), (3, "untested")])
    def test_most_seeds_count(self, tmp_path, flagged, verdict):
        assert decide(tmp_path, runs(flags="at_floor", flagged=flagged), HOLDS)["verdict"] == verdict

    @pytest.mark.parametrize(("baseline", "verdict"), [("other", "fails"), ("third", "untested")])
    def test_runs_at_the_floor_fail_where_another_model_has_learnt(self, tmp_path, baseline, verdict):
        learnt = {"learnt": [{"groups": [baseline]}]}
        planted = runs(ours=0.2, flags="at_floor")
        assert decide(tmp_path, planted, BETTER, conditions=learnt)["verdict"] == verdict
        assert decide(tmp_path, planted, BETTER)["verdict"] == "untested"

    def test_a_baseline_may_be_on_purpose(self, tmp_path):
        swapped = {**BETTER, "group": "other", "minus": {"group": "ours"}, "bound": {"at_most": 0}}
        assert decide(tmp_path, runs(flags="at_floor"), swapped)["verdict"] == "holds"


class TestTheSame:
    def test_runs_that_are_identical_in_every_bit(self, tmp_path):
        ours = {"test_accuracy_on": around(0.8), "test_loss_on": around(0.3)}
        for bound in ({"at_least": -0.01}, {"at_least": 0.05}):
            same = table(cell("nema_lite", ours), cell("write_all", ours))
            row = decide(tmp_path, same, {**BETTER, "bound": bound})
            assert row["verdict"] == "untested"
            assert "the same in every bit: no gradient or output reaches the difference" in row["reason"]

    def test_one_seed_that_differs_is_enough(self, tmp_path):
        ours, other = ({"test_accuracy_on": around(0.8), "test_loss_on": around(0.3)} for _ in range(2))
        other["test_loss_on"] = [*other["test_loss_on"][:-1], 0.5]
        two = table(cell("nema_lite", ours), cell("write_all", other))
        assert decide(tmp_path, two, {**BETTER, "bound": {"at_least": -0.2}})["verdict"] == "holds"

    def test_a_memory_that_changes_no_answer(self, tmp_path):
        metrics = {"test_accuracy_on": around(0.8), "test_accuracy_off": around(0.8)}
        losses = {"test_loss_on": around(0.3), "test_loss_off": around(0.3)}
        test = {**BETTER, "minus": {"metric": "test_accuracy_off"}}
        assert decide(tmp_path, table(cell("nema_lite", {**metrics, **losses})), test)["verdict"] == "untested"
        losses["test_loss_off"] = around(0.31)
        assert decide(tmp_path, table(cell("nema_lite", {**metrics, **losses})), test)["verdict"] == "fails"


class TestAtABound:
    def test_both_at_the_ceiling_show_no_advantage(self, tmp_path):
        row = decide(tmp_path, runs(ours=0.99, other=0.985), BETTER)
        assert (row["verdict"], row["in_short"]) == ("untested", "both at the ceiling")

    def test_both_at_the_ceiling_may_show_that_nothing_is_lost(self, tmp_path):
        test = {**BETTER, "bound": {"at_least": -0.05}}
        assert decide(tmp_path, runs(ours=0.99, other=0.985), test)["verdict"] == "holds"

    @pytest.mark.parametrize("bound", [{"at_least": -0.05}, {"at_least": 0.05}])
    def test_both_at_the_floor_show_nothing(self, tmp_path, bound):
        row = decide(tmp_path, runs(ours=0.11, other=0.1), {**BETTER, "bound": bound})
        assert (row["verdict"], row["in_short"]) == ("untested", "both at the floor")


class TestByConstruction:
    PROVEN = {**HOLDS, "property": "tests/memory/test_dnc.py::test_of_tied_slots_the_first_is_written"}

    def test_has_no_verdict_and_counts_into_no_family(self, tmp_path):
        row = decide(tmp_path, runs(), self.PROVEN)
        assert (row["verdict"], row["uncorrected"]) == ("by construction", "by construction")
        assert row["property"] == self.PROVEN["property"]
        assert row["estimate"] == pytest.approx(0.9)

    def test_beside_a_test_decides_nothing(self, tmp_path):
        row = decide(tmp_path, runs(), {**self.PROVEN, "bound": {"at_least": 0.95}}, HOLDS)
        assert row["verdict"] == "holds"

    def test_names_a_test(self, tmp_path):
        with pytest.raises(ParameterError, match="property"):
            made_up.claims(tmp_path, GROUPS, {**HOLDS, "property": "somewhere"})

    def test_of_the_project_names_tests_that_exist(self):
        asked = claims.read_claims(PROJECT / "params/claims")
        parts = (
            part for claim in asked.claims.values() for one in claim.tests for part in (one, *one.on_track.values())
        )
        proven = {part.property for part in parts if part.property}
        assert len(proven) == 4
        proven |= {one.proof for claim in asked.claims.values() for one in claim.conditions.identical}
        for name in proven:
            file, _, test = name.partition("::")
            assert f"def {test}(" in (PROJECT / file).read_text(encoding="utf-8")


class TestIdentical:
    PROOF = "tests/memory/test_dnc.py::test_of_tied_slots_the_first_is_written"
    SAME: ClassVar[dict[str, Any]] = {"identical": [{"proof": PROOF, "why": "no gradient reaches it"}]}

    def test_is_untested_and_names_the_test(self, tmp_path):
        row = decide(tmp_path, runs(), BETTER, conditions=self.SAME)
        assert (row["verdict"], row["in_short"]) == ("untested", "the same by construction: no gradient reaches it")
        assert self.PROOF in row["reason"]

    def test_needs_no_run_of_the_other_side(self, tmp_path):
        alone = runs().loc[lambda table: table["model"] == "nema_lite"]
        row = decide(tmp_path, alone, BETTER, conditions=self.SAME)
        assert (row["verdict"], row["in_short"]) == ("untested", "the same by construction: no gradient reaches it")
        assert self.PROOF in row["reason"]

    def test_may_be_so_on_one_track(self, tmp_path):
        on_other = {"identical": [{**self.SAME["identical"][0], "tracks": ["published"]}]}
        assert decide(tmp_path, runs(), BETTER, conditions=on_other)["verdict"] == "holds"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"proof": "somewhere"}, "proof: 'somewhere'"),
            ({"why": "because no gradient ever reaches it"}, "why: .*6 words; allowed: 4 at most"),
            ({"why": ""}, "why"),
        ],
    )
    def test_a_wrong_one_is_one_line(self, tmp_path, change, message):
        wrong = {"identical": [{**self.SAME["identical"][0], **change}]}
        with pytest.raises(ParameterError, match=message):
            made_up.claims(tmp_path, GROUPS, BETTER, conditions=wrong)


def test_a_claim_with_an_untested_part_may_still_fail(tmp_path):
    fails = {**HOLDS, "bound": {"at_least": 0.99}}
    untested = {**HOLDS, "conditions": {"learnt": [{"groups": ["third"]}]}}
    assert decide(tmp_path, runs(), untested, fails)["verdict"] == "fails"
    assert decide(tmp_path, runs(), untested, HOLDS)["verdict"] == "untested"


def test_a_condition_of_a_group_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match="refers to group 'nobody'; allowed: other, ours, third"):
        made_up.claims(tmp_path, GROUPS, HOLDS, conditions={"learnt": [{"groups": ["nobody"]}]})


def test_a_diverged_seed_keeps_a_claim_from_holding(tmp_path):
    lost = runs()
    lost.loc[(lost["model"] == "nema_lite") & (lost["seed"] == 2), "status"] = "diverged"
    assert decide(tmp_path, lost, HOLDS)["verdict"] == "undecided"
