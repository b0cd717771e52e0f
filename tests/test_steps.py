"""What an iteration computes: passes that loss and penalties share, reals and labels of each network, phases."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from conftest import trainer

SMALL = ["image.size=16", "generator.channel_max=8", "discriminator.channel_max=8", "training.precision=fp32"]
REAL = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
NONE = torch.zeros(8, 0)
LABELS = F.one_hot(torch.arange(8) % 3, 3).float()


def double(*settings):
    made = trainer("stylegan2-tiny", *SMALL, *settings)
    for module in made.modules().values():
        module.double()
    for net in (made.G, made.D, made.G_ema):
        net.set_dtype(torch.float64)
    made.begin()
    return made


def first_batch(made, label=NONE):
    return made.batch_factory(REAL[:4], label[:4], label[4:])(range(4), made.sample_rng(range(4), 4))


PENALTIES = {
    "r1": (5.0, 0.0),
    "r2": (0.0, 3.0),
    "both": (5.0, 3.0),
}


@pytest.mark.parametrize("which", PENALTIES)
def test_penalties_of_every_iteration_share_the_pass_of_the_loss(which):
    """Gradients are those of the sum, written out; D judges reals once and generated images once."""
    r1, r2 = PENALTIES[which]
    parts = [f"{{use: {name}, gamma: {2 * g}, every: 1}}" for name, g in (("r1", r1), ("r2", r2)) if g]
    made = double(f"regularizers=[{', '.join(parts)}]")
    passes = []
    made.D.register_forward_pre_hook(lambda module, args: passes.append(len(args[0][-1])))
    batch = first_batch(made)
    made.main_loss("d", lambda rows, rng: batch, range(4), None).backward()
    found = [p.grad.clone() for p in made.D.parameters()]
    assert passes == [4, 4]

    made.D.zero_grad()
    total = 0
    for images, sign, weight in ((batch.real[-1], -1, r1), (batch.fake[-1], 1, r2)):
        x = images.clone().requires_grad_()
        logits = made.D((x,), None, made.stage)
        total = total + F.softplus(sign * logits).mean()
        (grad,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        total = total + weight * grad.square().sum() / 4
    total.backward()
    for ours, theirs in zip(found, (p.grad for p in made.D.parameters())):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_an_augmentation_observes_shared_logits_once():
    made = double("augment=ada", "regularizers=[{use: r1, every: 1}]")
    counts = []
    made.augment.observe = lambda real: counts.append(len(real))
    made.main_loss("d", lambda rows, rng: first_batch(made), range(4), None)
    assert counts == [4]


def recorded(made, name):
    """The batches that a method of the trainer is given."""
    seen, method = [], getattr(made, name)

    def record(batch):
        seen.append(batch)
        return method(batch)

    setattr(made, name, record)
    return seen


@pytest.mark.parametrize("fresh", [False, True])
def test_the_generator_s_own_reals(fresh):
    made = trainer("stylegan2-tiny", *SMALL, f"training.fresh_reals={str(fresh).lower()}", "loss=relativistic_paired")
    assert made.real_batches == (2 if fresh else 1)
    g, d = recorded(made, "generator_loss"), recorded(made, "discriminator_loss")
    rows = 4 * made.real_batches
    made.step(REAL[:rows], NONE[:rows], NONE[:4])
    assert made.images == 4
    wanted = REAL[4:] if fresh else REAL[:4]
    assert torch.equal(g[0].real[-1], wanted / 127.5 - 1) and torch.equal(d[0].real[-1], REAL[:4] / 127.5 - 1)


@pytest.mark.parametrize(("loss", "paired"), [("relativistic_paired", True), ("logistic", False)])
def test_labels_of_generated_images(loss, paired):
    made = trainer(
        "stylegan2-tiny", *SMALL, "labels=3", f"loss={loss}", "discriminator.head={use: projection, mapping: mlp}"
    )
    g, d = recorded(made, "generator_loss"), recorded(made, "discriminator_loss")
    made.step(REAL[:4], LABELS[:4], LABELS[4:])
    for batch in (*g, *d):
        assert torch.equal(batch.label, LABELS[:4] if paired else LABELS[4:])
        assert torch.equal(batch.real_label, LABELS[:4])


@pytest.mark.parametrize(("phases", "moves"), [("both", 2), ("d", 1)])
def test_phases_in_which_the_mean_style_moves(phases, moves):
    made = trainer("stylegan2-tiny", *SMALL, f"generator.w_mean_phases={phases}", "regularizers=[]")
    means, seen = [], []
    made.G.synthesis.register_forward_pre_hook(lambda module, args: seen.append(module.phase))
    made.G.synthesis.register_forward_hook(lambda *_: means.append(made.G.w_mean.clone()))
    made.step(REAL[:4], NONE[:4], NONE[:4])
    assert seen == ["g", "d"]  # order "gd"
    changed = [not torch.equal(a, b) for a, b in zip([torch.zeros_like(means[0]), *means], means)]
    assert sum(changed) == moves and changed[-1]


def test_a_lazy_penalty_s_phase_is_that_of_its_network():
    made = trainer("stylegan2-tiny", *SMALL, "regularizers=[{use: path_length, every: 2}, {use: r1, every: 2}]")
    seen = []
    made.G.register_forward_pre_hook(lambda module, args: seen.append(module.phase))
    lazy = partial(made.lazy_loss, make_batch=made.batch_factory(REAL[:4], NONE[:4], NONE[:4]), rows=range(4))
    made.begin()
    made.G.set_phase("d")
    lazy(made.regularizers[0], rng=made.sample_rng(range(4), 4))
    assert made.G.phase == "g"
    lazy(made.regularizers[1], rng=made.sample_rng(range(4), 4))
    assert made.G.phase == "d"
