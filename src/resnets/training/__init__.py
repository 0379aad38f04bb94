"""From a network, a task, data and a recipe to a run."""
