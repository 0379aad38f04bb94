"""A 2-D map of features, on which pictures that are alike lie together."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits
from torch import Tensor

LAYOUTS = ("tsne", "pca", "umap")
COMPONENTS = 50
"""Principal components that t-SNE and UMAP read, as the former's authors advise (JMLR 9:2579, 2008, section 4.2)."""

PERPLEXITY = 30.0
NEIGHBOURS = 10
"""By which a map's trustworthiness is judged."""


def project(features: Tensor, layout: str = "tsne") -> Tensor:
    """Two coordinates for each picture, (N, 2) float32, centred, the farther one reaching from -1 to 1.

    The same each time.

    Args:
        features: (N, D).
        layout: "pca": the two directions of most variance, distances as they are; "tsne" (JMLR 9:2579, 2008) and
            "umap" (arXiv:1802.03426): neighbours stay together, distances between groups say little.

    Raises:
        ValueError: for another layout, or fewer than three pictures.
        ImportError: for "umap" where umap-learn is not there.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    if len(features) < 3:
        raise ValueError(f"a map needs three pictures or more, not {len(features)}")
    values = features.double().numpy()
    with threadpool_limits(1):  # matrices so small that threads cost more than they give
        if not values.std(0).any():
            return torch.zeros(len(features), 2)  # all are the same
        values = PCA(min(COMPONENTS, *values.shape), svd_solver="full").fit_transform(values)
        if layout == "tsne":
            perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
            values = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(values)
        elif layout == "umap":
            values = _umap(values)
    places = torch.from_numpy(np.ascontiguousarray(values[:, :2])).float()
    if places.shape[1] < 2:
        places = torch.cat([places, torch.zeros(len(places), 1)], 1)
    places = places - (places.amax(0) + places.amin(0)) / 2
    return places / places.abs().max().clamp(min=1e-12)


def trust(features: Tensor, places: Tensor) -> float:
    """The trustworthiness of a map, 0 to 1: whether neighbours on it are neighbours among the features.

    1 where all are (Venna and Kaski, ICANN 2001, by 10 neighbours).
    """
    count = min(NEIGHBOURS, (len(features) - 1) // 2)
    return float(trustworthiness(features.double().numpy(), places.double().numpy(), n_neighbors=count))


def _umap(values: np.ndarray) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError:
        raise ImportError("the layout umap needs umap-learn: pip install 'resnets[umap]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a fixed seed means one thread
        found: np.ndarray = UMAP(n_neighbors=min(15, len(values) - 1), random_state=0).fit_transform(values)
    return found
