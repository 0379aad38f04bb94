"""Maps of features: what they must keep."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from resnets.insight.projection import project, trust

FEATURES = torch.from_numpy(load_digits().data[:150]).float()


@pytest.mark.parametrize("layout", ["tsne", "pca"])
def test_a_map_is_the_same_each_time_and_fills_its_square(layout):
    places = project(FEATURES, layout)
    assert places.shape == (150, 2)
    assert places.abs().max() == pytest.approx(1)
    assert torch.equal(places, project(FEATURES, layout))
    assert trust(FEATURES, places) > (0.9 if layout == "tsne" else 0.75)


def test_pca_is_scikit_learns_up_to_its_scale():
    expected = torch.from_numpy(PCA(2).fit_transform(FEATURES.double())).float()
    places = project(FEATURES, "pca")
    for axis in (0, 1):
        assert torch.corrcoef(torch.stack([places[:, axis], expected[:, axis]]))[0, 1].abs() > 0.9999
    ratio = places.std(0) / expected.std(0)
    assert ratio[0].item() == pytest.approx(ratio[1].item(), rel=1e-4)


def test_few_pictures_and_what_is_refused():
    assert project(FEATURES[:3], "tsne").shape == (3, 2)
    assert project(FEATURES[:5, :1], "pca").shape == (5, 2)
    with pytest.raises(ValueError, match="there is no layout 'globe'; there are tsne, pca, umap"):
        project(FEATURES, "globe")
    with pytest.raises(ValueError, match="a map needs three pictures or more, not 2"):
        project(FEATURES[:2])
