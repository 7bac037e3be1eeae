import numpy as np
import torch

from motet.data.batch import Batch
from motet.models.readouts import Courses, Readout


def test_courses_are_mixed_by_the_latent_state_and_follow_time():
    torch.manual_seed(0)
    courses = Courses(4, 2, 3)
    torch.nn.init.normal_(courses.level)
    latent = torch.randn(5, 6, 4)
    alone = [courses(torch.where(torch.arange(6)[:, None] == time, latent, 0.0))[:, time] for time in range(6)]
    torch.testing.assert_close(courses(latent), torch.stack(alone, dim=1))  # a bin reads no other

    with torch.no_grad():
        courses.gate.weight.zero_()
        courses.gate.bias.copy_(torch.tensor([100.0, 0.0, 0.0]))
        course = courses(latent)
        torch.testing.assert_close(course, course[:1].expand_as(course))  # one kind of movement: the same in all trials
        courses.gate.bias.copy_(torch.tensor([0.0, 0.0, 0.0]))
        even = courses(latent)
        courses.gate.bias.copy_(torch.tensor([0.0, 100.0, 0.0]))
        second = courses(latent)
        courses.gate.bias.copy_(torch.tensor([0.0, 0.0, 100.0]))
        torch.testing.assert_close(even, (course + second + courses(latent)) / 3)
    assert course[0].std(dim=0).min() > 0


def test_individuals_not_observed_weigh_nothing():
    torch.manual_seed(0)
    readout = Readout("individual", width=4, n_outputs=2, latent_width=3, individual_ids=("a", "b"), n_courses=2).eval()
    embedding, observed = torch.randn(1, 2, 5, 4), torch.ones(1, 2, 5, dtype=torch.bool)
    observed[0, 1, 3] = False
    embedding = embedding * observed[..., None]

    def read(who: list[int]) -> torch.Tensor:
        batch = Batch(
            values=torch.zeros(1, len(who), 5, 1),
            observed=observed[:, who],
            individual_ids=(("a", "b"),),
            positions=torch.tensor([who]),
            recording_index=torch.zeros(1, dtype=torch.int64),
        )
        return readout(embedding[:, who], observed[:, who], batch).detach()

    np.testing.assert_allclose(read([0, 1]), read([1, 0]), atol=1e-6)
    np.testing.assert_allclose(read([0, 1])[0, 3], read([0])[0, 3], atol=1e-6)
