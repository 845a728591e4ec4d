"""Every sample is dealt once, to processes whose work is even, alike in all of them."""

import pytest
import torch

from nde.training import BalancedSampler


def samplers(count=64, batch=4, world=4, **options):
    return [BalancedSampler(range(count), batch, rank=rank, world_size=world, **options) for rank in range(world)]


def test_every_sample_is_dealt_once_in_each_epoch():
    for epoch in range(3):
        dealt = []
        for one in samplers():
            one.set_epoch(epoch)
            mine = list(one)
            assert len(mine) == len(one) == 16
            dealt += mine
        assert sorted(dealt) == list(range(64))


def test_batches_are_those_of_one_process_whatever_the_costs():
    costs = torch.rand(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, informed = samplers(), samplers()
    for one in informed:
        one.update(torch.arange(64), costs)
    for start in range(0, 16, 4):
        batches = [{index for one in group for index in list(one)[start : start + 4]} for group in (plain, informed)]
        assert batches[0] == batches[1]
    assert [list(one) for one in plain] != [list(one) for one in informed]


def test_the_work_of_the_busiest_process_is_near_the_mean():
    generator = torch.Generator().manual_seed(1)
    costs = torch.distributions.LogNormal(3.0, 1.0).icdf(torch.rand(512, generator=generator, dtype=torch.float64))
    busiest = {}
    for name in ("plain", "balanced"):
        group = samplers(512, 16, 4)
        if name == "balanced":
            for one in group:
                one.update(torch.arange(512), costs)
        dealt = [costs[list(one)].reshape(-1, 16).sum(1) for one in group]
        busiest[name] = float(torch.stack(dealt).amax(0).sum() / (costs.sum() / 4))
    assert busiest["plain"] > 1.25 and busiest["balanced"] < 1.06


def test_costs_are_smoothed_and_unknown_ones_count_as_the_mean():
    (one,) = samplers(world=1, smoothing=0.25)
    one.update(torch.tensor([3]), torch.tensor([8.0]))
    one.gathered(torch.tensor([3]), torch.tensor([4.0]))
    assert one.costs[3] == 0.25 * 8 + 0.75 * 4 and one.costs[2].isnan()


def test_the_last_batch_is_filled_up_or_left_out():
    for one in samplers(70, 4, 4):
        assert len(list(one)) == len(one) == 20
    dealt = [index for one in samplers(70, 4, 4) for index in one]
    assert set(dealt) == set(range(70)) and len(dealt) == 80
    assert all(len(list(one)) == len(one) == 16 for one in samplers(70, 4, 4, drop_last=True))
    few = [index for one in samplers(3, 4, 2) for index in one]
    assert len(few) == 8 and {few.count(index) for index in range(3)} == {2, 3}


def test_the_state_is_kept():
    one, two = samplers(world=1)[0], samplers(world=1)[0]
    one.update(torch.arange(8), torch.arange(8.0))
    one.set_epoch(3)
    two.load_state_dict(one.state_dict())
    assert list(one) == list(two) and two.epoch == 3
    with pytest.raises(ValueError, match="state is of 64 samples"):
        samplers(8, world=1)[0].load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "batch_size must be"),
        ({"count": 0}, "at least one sample"),
        ({"smoothing": 1.0}, "smoothing must be"),
        ({"count": 3, "drop_last": True}, "must fill a batch of 16"),
    ],
)
def test_wrong_arguments_are_told(options, said):
    with pytest.raises(ValueError, match=said):
        samplers(**options)
    with pytest.raises(ValueError, match="rank must be"):
        BalancedSampler(range(4), 1, rank=2, world_size=2)
    with pytest.raises(ValueError, match="one shape"):
        samplers(world=1)[0].update(torch.arange(2), torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        samplers(world=1)[0].update(torch.arange(1), torch.tensor([float("nan")]))
