"""Residual networks, from a folder of pictures to a trained network in use."""

from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import Predictor, load
from resnets.insight.profile import profile
from resnets.networks.catalogue import list_models
from resnets.training.folds import cross_validate
from resnets.training.recipe import Recipe, list_recipes
from resnets.training.train import resume, train
from resnets.weights.models import create_model

__all__ = [
    "Predictor",
    "Recipe",
    "create_model",
    "cross_validate",
    "evaluate",
    "list_models",
    "list_recipes",
    "load",
    "open_dataset",
    "profile",
    "resume",
    "train",
]
