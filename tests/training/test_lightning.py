"""The callback logs what the solves of every training batch cost, and nothing of validation."""

import pytest
import torch
from torch import nn

import nde
from nde.regularize import GlobalError
from tests.problems import Net

lightning = pytest.importorskip("lightning.pytorch")


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.flow = nde.NeuralODE(Net(size=2), regularizer=GlobalError(0.1))
        self.trained = []

    def training_step(self, batch, index):
        output = self.flow(batch[0])
        self.trained.append(output.stats.n_field_evals)
        return output.y1.square().mean() + output.penalty

    def validation_step(self, batch, index):
        self.flow(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Seen(lightning.Callback):
    def __init__(self):
        self.numbers = []

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.numbers.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@pytest.mark.filterwarnings("ignore")
def test_numbers_of_every_batch_are_logged(tmp_path):
    from nde.training.lightning import SolverCost

    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(12, 2, dtype=torch.float64)), batch_size=4
    )
    model, seen = Model(), Seen()
    trainer = lightning.Trainer(
        max_epochs=2,
        callbacks=[SolverCost(), seen],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data, data)
    assert [numbers["solver/nfe"] for numbers in seen.numbers] == model.trained and len(model.trained) == 6
    assert {"solver/accepted", "solver/rejected", "solver/stiffness", "solver/penalty"} <= set(seen.numbers[0])
    from nde.adjoint.observed import observer

    assert observer() is None  # nothing is left behind
    assert isinstance(model.flow, nn.Module) and not model.flow._forward_hooks
