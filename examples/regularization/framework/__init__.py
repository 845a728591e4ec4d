"""What all experiments share: settings, variants, training that can be stopped, workers, tables, plots.

An experiment is a subclass of `Experiment` in a module of its own, with a TOML file of the same name beside it, and a
line in ``examples/regularization/registry.py``. It provides

- ``settings_type``, a dataclass that extends `Settings` (``@dataclass(frozen=True, kw_only=True)``) with whatever else
  the outcome depends on (sizes, tolerance, batch, learning rate, ...; numbers, strings, booleans, lists of them).
  Nothing that the outcome depends on may come from elsewhere: a run is resumed, or kept, where the settings are the
  same. A change of the code that changes outcomes is told by raising ``version``.
- class attributes ``name``, ``title``, ``metric`` (a `Metric`), ``other_solver`` (solver options that were not trained
  with, such as ``{"method": "dopri5"}``; empty where there is no other), ``version``;
- ``__init__(settings, data)``: loads or generates the data, the same ones every time; call ``super().__init__``;
- ``build(seed, penalty, steer)``: the untrained model, initial weights by ``seed`` alone (models of the same seed start
  from the same weights, whatever the penalty). Penalty and steer go into the layer (``regularizer=``, ``steer=``); its
  ``state_dict`` then has their state. Give the layer ``max_steps``: a field that blows up must end the run;
- ``optimiser(model)`` and, if wanted, ``schedule(optimiser)``, which is stepped once per iteration;
- ``loss(model, generator, iteration)``: the loss of one batch, *with* the layer's penalty, and the evaluations of the
  field that its solve took, as `Loss`. Draw batches from ``generator`` (or from torch's global one: both are saved);
  where batches should be those of epochs, use `batch_of_epoch`. The framework does backward, the optimiser's step,
  the schedule's and ``penalty.step()``, which is per iteration;
- ``predict(model, part)``: a prediction in evaluation mode, without gradients, of a fixed batch of training data
  (``part="train"``) or of the test data (``part="test"``), as `Prediction`. The framework calls it for the metric, for
  the evaluations, for the prediction time, and with the options of ``other_solver`` put into the layers meanwhile (all
  ``SolverLayer`` of ``model.modules()``), so it must solve through the layer. It must not use up the random state of
  training: give seeds where something is drawn;
- ``baselines()``, if wanted: names and metrics of what has no flow.

The TOML file has settings that all set-ups share at the top, and a table for each set-up, ``[setup.short]`` and
``[setup.full]`` at least, which override them: ``--full`` stands for ``--setup full``. Among the settings are

- ``seeds`` and ``iterations``, numbers;
- ``weights.METHOD = [...]``: the weights of a method, for each of which there is a run with each seed. A weight is a
  number, or a pair ``[start, end]`` of an exponential annealing over the iterations. For ``none`` it is ``[0]``, for
  ``steer`` the half width, for ``budget`` the target;
- ``options.METHOD = {...}``: further arguments of the method's penalty, see `variants`;
- ``left_out.METHOD = "reason"``: methods that the experiment cannot have; the table says why.

Each run writes a checkpoint and, when it is finished, a JSON file of its figures into ``OUTPUT/NAME/SETUP/runs``.
"""

from examples.regularization.framework.experiment import (
    Experiment,
    Loss,
    Metric,
    Prediction,
    batch_of_epoch,
)
from examples.regularization.framework.settings import Settings, SettingsError, read_settings
from examples.regularization.framework.variants import METHODS, Variant

__all__ = [
    "METHODS",
    "Experiment",
    "Loss",
    "Metric",
    "Prediction",
    "Settings",
    "SettingsError",
    "Variant",
    "batch_of_epoch",
    "read_settings",
]
