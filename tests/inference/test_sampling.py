"""Solvers against equations with known solutions, and pictures that depend on the seed alone."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from resnets.data.order import normal
from resnets.inference.sampling import guided, integrate

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2}


@pytest.mark.parametrize("solver", ORDERS)
def test_a_solver_converges_at_its_order(solver):
    """dx/dt = x + t leads from 1 to 2e - 2."""
    start, exact = torch.ones(1, dtype=torch.float64), 2 * math.e - 2

    def error(steps):
        return abs(integrate(lambda x, t: x + t, start, steps, solver).item() - exact)

    assert error(100) < (5e-2 if solver == "euler" else 2e-4)
    order = math.log2(error(50) / error(100))
    assert order == pytest.approx(ORDERS[solver], abs=0.1)


@pytest.mark.parametrize("solver", ORDERS)
def test_noise_becomes_the_distribution_that_the_exact_velocity_belongs_to(solver):
    """For pictures of a normal distribution the flow is known: x_t = t m + sqrt((1 - t)^2 + t^2 s^2) noise."""
    m, s = 2.0, 0.5
    noise = normal(0, 0, torch.arange(1000), "noise").double()

    def velocity(x, t):
        variance = (1 - t) ** 2 + t**2 * s**2
        return m + (t * s**2 - (1 - t)) / variance * (x - t * m)

    made = integrate(velocity, noise, 100, solver)
    torch.testing.assert_close(made, m + s * noise, rtol=0, atol=0.05 if solver == "euler" else 2e-3)


def test_a_solver_that_is_none_and_no_steps_are_refused():
    for options in ({"steps": 0}, {"steps": 5, "solver": "rk45"}):
        with pytest.raises(ValueError, match=r"must be"):
            integrate(torch.mul, torch.ones(1), **options)


def test_guidance_leads_from_what_all_classes_have_in_common():
    class Network:
        architecture = SimpleNamespace(num_classes=3)
        asked = 0

        def __call__(self, x, _, labels):
            self.asked += len(x)
            return torch.where(labels[:, None] == 3, 1.0, 10.0 * labels[:, None]) + 0 * x

    network, labels, x = Network(), torch.tensor([1, 2]), torch.zeros(2, 1)
    for guidance, expected in ((0, [1, 1]), (1, [10, 20]), (2, [19, 39])):
        assert guided(network, labels, guidance)(x, 0.5).flatten().tolist() == expected
    assert network.asked == 4 + 2 + 4  # without guidance the network is asked once
