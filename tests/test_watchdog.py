"""The watchdog: its numbers against closed forms and scipy, its alarms on histories made for them."""

import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from ganzoo.gan.adversarial import Training
from ganzoo.gan.watchdog import (
    GAIN,
    WARMUP,
    Row,
    Watchdog,
    chance_loss,
    checks,
    diversity,
    history,
    judge,
    lost_progress,
    magnitude,
    relative_d_loss,
    relative_diversity,
)
from ganzoo.interfaces import Metric
from ganzoo.registry.lookup import registry

LOGISTIC = 2 * math.log(2)
GOOD = {"loss/d": 1.1, "loss/g": 0.9, "scores/real": 0.4, "scores/fake": -0.4, "diversity": 0.8}


def noise(n, c=3, h=16, w=16, seed=0):
    return torch.randint(0, 256, (n, c, h, w), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def loss(name, **options):
    return registry().get("loss", name)(**options)


def metric(name):
    return registry().get("metric", name)


# --- diversity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (7, 3, 12, 8), (64, 4, 16, 16)])
def test_diversity_is_the_mean_distance_to_the_nearest_neighbour(shape):
    images = noise(*shape)
    distances = squareform(pdist(images.flatten(1).double().numpy()))
    np.fill_diagonal(distances, np.inf)
    assert diversity(images) == pytest.approx(distances.min(axis=1).mean() / math.sqrt(math.prod(shape[1:])), rel=1e-9)


def test_diversity_of_plain_colours_is_the_step_between_them():
    grays = torch.tensor([0, 10, 20, 100, 90]).reshape(5, 1, 1, 1).expand(5, 3, 8, 8)
    assert diversity(grays) == pytest.approx(10)


def test_a_generator_of_a_few_images_has_none():
    """Though the mean distance of all its pairs is that of real images."""
    assert diversity(noise(8).repeat(8, 1, 1, 1)) == pytest.approx(0, abs=1e-6)


def test_relative_diversity_of_the_real_images_is_1():
    real = noise(64, h=64, w=48)
    assert relative_diversity(real, real) == pytest.approx(1)
    assert relative_diversity(real.flip(0), real) == pytest.approx(1)


def test_relative_diversity_halves_with_the_contrast():
    real = noise(32)
    made = (real // 2 * 2).float() / 2 + 64
    assert relative_diversity(made.to(torch.uint8), real // 2 * 2) == pytest.approx(0.5)


def test_relative_diversity_compares_at_the_size_a_growing_gan_has_reached():
    real = noise(20, h=16, w=24)
    small = torch.nn.functional.avg_pool2d(real.float(), 4)
    assert relative_diversity(small, real) == pytest.approx(1)
    big = real.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)  # 128 x 192, shrunk to 32 x 32
    assert relative_diversity(big, real.repeat_interleave(8, dim=2)[..., :20]) is not None


def test_relative_diversity_says_nothing_where_the_real_images_are_alike():
    assert relative_diversity(noise(8), noise(1).expand(8, 3, 16, 16)) is None
    assert relative_diversity(noise(1), noise(8)) is None


# --- the other numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("logistic", {}, LOGISTIC),
        ("saturating", {}, LOGISTIC),
        ("hinge", {}, 2),
        ("lsgan", {}, 0.5),
        ("lsgan", {"targets": "progan"}, 1 / 11),
        ("relativistic_average", {}, 2),
        ("relativistic_paired", {}, math.log(2)),
        ("wasserstein", {}, 0),
    ],
)
def test_the_loss_of_a_blind_discriminator(name, options, value):
    assert chance_loss(loss(name, **options)) == pytest.approx(value, abs=2e-4)


def test_sight_is_a_share_of_it_and_nothing_for_wasserstein():
    row = Row(1, {"loss/d": LOGISTIC / 4})
    assert relative_d_loss(row, LOGISTIC) == pytest.approx(0.25)
    assert relative_d_loss(row, 0) is None
    assert relative_d_loss(Row(1, {}), LOGISTIC) is None


def test_magnitude_takes_what_is_no_number_as_infinite():
    assert magnitude(Row(1, {"loss/g": -3.0, "scores/real": 2.0, "grad/g": 1e9})) == 3
    assert magnitude(Row(1, {"loss/g": math.nan, "scores/real": 2.0})) == math.inf
    assert magnitude(Row(1, {"penalty/r1": 1.0})) is None


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([400], None),
        ([400, 340], None),  # too little to speak of
        ([400, 4], 0),
        ([400, 4, 40], 0.5),
        ([400, 4, 400], 1),
        ([400, 4, 4000], 1.5),
        ([400, 500, 450], None),  # never better than at the beginning
        ([0.4, 0.01, -0.001], 0),  # the KID of a very good generator may be below 0
    ],
)
def test_lost_is_the_share_of_the_gain_in_logarithms(values, share):
    assert lost_progress(values) == (None if share is None else pytest.approx(share))


@given(st.lists(st.floats(1, 1e3), min_size=2, max_size=9), st.floats(0.1, 10))
def test_lost_does_not_depend_on_the_metrics_unit(values, unit):
    assume(all(abs(math.log(values[0] / v) - GAIN) > 1e-9 for v in values))  # not on the border of what counts
    there, here = lost_progress([v * unit for v in values]), lost_progress(values)
    assert there == (None if here is None else pytest.approx(here, abs=1e-6))


# --- alarms ----------------------------------------------------------------------------------------------------------


def rows(*ticks, start=WARMUP):
    """A history of a tick each kimg; each tick is GOOD but for what is given."""
    return [Row(start + i, {**GOOD, **tick}) for i, tick in enumerate(ticks)]


def kinds(past):
    return [alarm.kind for alarm in judge(past, LOGISTIC)]


FAULTS = [
    ("mode collapse", {"diversity": 0.01}),
    ("discriminator wins", {"loss/d": 0.001}),
    ("discriminator fails", {"loss/d": LOGISTIC}),
    ("divergence", {"scores/real": 1e5}),
    ("divergence", {"loss/g": math.nan}),
    ("divergence", {"lost": 2.0}),
]


def patience(fault):
    return next(c.ticks for c in checks(LOGISTIC) if (v := c.number(Row(9, fault))) is not None and c.state(v))


def test_nothing_is_said_of_a_run_that_is_well():
    assert judge([], LOGISTIC) == []
    assert judge(rows(*[{}] * 50), LOGISTIC) == []
    assert judge(rows(*[{"lost": 0.0}] * 50), LOGISTIC) == []


@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_each_fault_has_its_alarm_after_some_ticks(kind, fault):
    n = patience(fault)
    assert kinds(rows({}, *[fault] * (n - 1))) == []
    (alarm,) = judge(rows({}, *[fault] * n), LOGISTIC)
    assert (alarm.kind, alarm.since_kimg) == (kind, WARMUP + 1)
    assert alarm.sentence.endswith(".")


@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_a_blip_is_no_alarm_and_a_good_tick_ends_none(kind, fault):
    n = patience(fault)
    well = {"lost": 0.0} if "lost" in fault else {}
    broken = ([fault] * (n - 1) + [well]) * 5
    assert kinds(rows(*broken)) == []
    assert kinds(rows(*[fault] * n, *([well] * (n - 1) + [fault]) * 5)) == [kind]
    assert kinds(rows(*[fault] * n, *[well] * n)) == []


@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_nothing_is_said_in_the_warm_up(kind, fault):
    early = [Row(WARMUP * i / 100, {**GOOD, **fault}) for i in range(100)]
    assert judge(early, LOGISTIC) == []


@pytest.mark.parametrize("check", checks(LOGISTIC), ids=lambda c: f"{c.kind}-{c.bad}")
def test_between_the_thresholds_all_stays_as_it_was(check):
    middle = (check.bad + check.good) / 2
    assert (check.state(check.bad), check.state(middle), check.state(check.good)) == (True, None, False)


def test_an_alarm_keeps_its_words_while_it_lasts():
    first = judge(rows(*[{"diversity": 0.1}] * 6), LOGISTIC)
    assert judge(rows(*[{"diversity": 0.1}] * 6, *[{"diversity": 0.02}] * 9, {"diversity": 0.25}), LOGISTIC) == first


def test_ticks_that_say_nothing_break_no_streak_and_count_for_none():
    fault, silent = {"lost": 1.0}, {}
    assert kinds(rows(*[fault, silent, silent] * patience(fault))) == ["divergence"]
    fault, between = {"diversity": 0.1}, {"diversity": 0.25}
    n = patience(fault)
    assert kinds(rows(*[fault, between, between] * (n - 1))) == []
    assert kinds(rows(*[fault, between, between] * n)) == ["mode collapse"]


def test_a_sure_discriminator_is_no_fault_while_the_generator_learns():
    fault = {"loss/d": 0.001}
    n = patience(fault)
    assert kinds(rows(*[{**fault, "behind": 0.0}] * 3 * n)) == []
    assert kinds(rows(*[{**fault, "behind": 1.0}] * n)) == ["discriminator wins"]
    assert kinds(rows(*[{**fault, "behind": 1.0}] * n, *[{**fault, "behind": 0.1}] * n)) == []


def test_advice_names_options_that_exist():
    for check in checks(LOGISTIC):
        named = re.findall(r"training\.(\w+)", check.advice)
        assert named and set(named) <= set(Training.model_fields)
        assert check.advice.endswith(".") and check.advice.count(". ") == 0
    text = " ".join(c.advice for c in checks(LOGISTIC))
    assert set(re.findall(r"regularizers\.\*\.(\w+)", text)) == {"gamma"}


class Higher(Metric, name="swd"):
    """A metric of which more is better."""

    lower_is_better = False


# --- files -----------------------------------------------------------------------------------------------------------


def write(folder, name, records):
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))


def record(row):
    means = {k: v for k, v in row.values.items() if k not in ("diversity", "lost")}
    return {"kimg": row.kimg, "means": means, "diversity": row.values.get("diversity")}


def measured(kimg, value):
    return {"kimg": kimg, "results": {"swd": value, "swd/16": 0}, "primary": "swd", "snapshot": None}


def test_a_measurement_belongs_to_the_tick_after_it(tmp_path):
    write(tmp_path, "stats.jsonl", [record(row) for row in rows({}, {}, {}, {}, {"diversity": None}, start=1)])
    write(tmp_path, "metric-swd.jsonl", [measured(*pair) for pair in [(0, 100), (0, 100), (2, 10), (4, 100)]])
    past = history(tmp_path, metric("swd"))
    assert [row.values.get("lost") for row in past] == [None, None, 0, None, 1]
    assert [row.values.get("behind") for row in past] == [1, 1, 0, 0, 1]
    assert ["diversity" in row.values for row in past] == [True] * 4 + [False]
    assert [row.values.get("lost") for row in history(tmp_path)] == [None] * 5
    write(tmp_path, "metric-swd.jsonl", [measured(*pair) for pair in [(0, 1), (1, 10), (3, 1)]])
    assert [row.values.get("lost") for row in history(tmp_path, Higher)] == [None, 0, None, 1, None]


def test_no_files_no_alarms(tmp_path):
    assert history(tmp_path, metric("swd")) == []
    assert Watchdog(loss("logistic"), metric("swd")).alarms(tmp_path) == []


def follow(folder, past, watch, given=()):
    """What a watchdog says at each tick of a run that writes its file as it goes."""
    said = []
    for i in range(len(given), len(past)):
        write(folder, "stats.jsonl", [record(row) for row in past[: i + 1]])
        said += [(i, alarm) for alarm in watch.alarms(folder)]
    return said


def test_an_alarm_is_said_once_until_it_is_over(tmp_path):
    n = patience({"diversity": 0.0})
    past = rows(*[{"diversity": 0.0}] * (n + 9), *[{}] * n, *[{"diversity": 0.0}] * n)
    said = follow(tmp_path, past, Watchdog(loss("logistic")))
    assert [(i, alarm.since_kimg) for i, alarm in said] == [(n - 1, WARMUP), (3 * n + 8, WARMUP + 2 * n + 9)]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_resumed_run_says_what_an_uninterrupted_one_does(tmp_path_factory, data):
    tick = st.sampled_from([{}, *[{"diversity": 0.0}] * 3, {"diversity": 0.25}, {"loss/d": 0.001}, {"loss/d": 0.001}])
    past = rows(*data.draw(st.lists(tick, min_size=8, max_size=24)))
    cut = data.draw(st.integers(0, len(past)))
    folder = tmp_path_factory.mktemp("run")
    whole = follow(folder, past, Watchdog(loss("logistic")))
    before = follow(folder, past[:cut], Watchdog(loss("logistic")))
    after = follow(folder, past, Watchdog(loss("logistic")), given=past[:cut])
    assert before + after == whole
