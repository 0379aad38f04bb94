"""Neighbours, prototypes and outliers against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional as F

from resnets.insight.neighbours import loneliness, nearest, prototypes

FEATURES = F.normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)))


def test_nearest_are_scikit_learns():
    likenesses, positions = nearest(FEATURES[:20], FEATURES[20:], 5)
    distances, expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(FEATURES[20:]).kneighbors(FEATURES[:20])
    assert np.array_equal(positions, expected)
    np.testing.assert_allclose(1 - likenesses, distances, atol=1e-6)


def test_prototypes_lie_in_the_middle_and_outliers_alone():
    angles = torch.tensor([0.0, 0.1, -0.1, 0.2, -0.2, 0.3, 2.0])
    features = torch.stack([angles.cos(), angles.sin()], 1)
    assert prototypes(features, 2)[0] in (1, 3)  # the mean's angle is about 0.14
    lonely = loneliness(features)
    assert lonely.argmax() == 6
    others = torch.cos(2.0 - angles[:6]).sort(descending=True).values[:5]
    torch.testing.assert_close(lonely[6], 1 - others.mean())
    assert loneliness(features[:1]).tolist() == [0.0]
