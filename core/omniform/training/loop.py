"""The training loop as Lightning wants it. Importing this module imports Lightning, which takes seconds."""

from __future__ import annotations

import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Generator, Tensor, nn, optim

from omniform.errors import OmniformError
from omniform.task import Budget, Network, Splits
from omniform.training.checkpoint import load_checkpoint, save_checkpoint
from omniform.training.clock import Clock
from omniform.training.config import Training
from omniform.training.optimizer import make_optimizer
from omniform.training.progress import Progress
from omniform.training.sampler import Batches, StepSampler, derive_seed
from omniform.training.schedule import crosses, rate_factor
from omniform.training.state import Record, State

__all__ = ["FolderCheckpoints", "TrainingLoop", "run_loop"]

_CHECKPOINT_SECONDS = 30.0  # a kill then costs half a minute; writing takes milliseconds at the sizes trained here
_RECORD_EVERY = 1 / 500  # share of the budget between two records of the loss
_STATE_KEY = "omniform"


def _quieten() -> None:
    """Silence Lightning's notices on devices, its tips, and its advice on workers and loggers not used here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.")


_quieten()  # at import too: the first that a spawned process does is to import this module


class FolderCheckpoints(CheckpointIO):
    """Lightning's checkpoints as folders of safetensors and JSON."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path)


class TrainingLoop(pl.LightningModule):
    """Train one network: random numbers, learning rate, validation, stopping and checkpoints of every step."""

    def __init__(
        self,
        *,
        model: nn.Module,
        network: Network,
        splits: Splits[Any],
        validate: Callable[[nn.Module], float],
        lower_is_better: bool,
        settings: Training,
        budget: Budget,
        seed: int,
        state: State,
        clock: Clock,
        folder: Path | None,
        score_start: bool,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.network = network
        self.splits = splits
        self.validate = validate
        self.lower_is_better = lower_is_better
        self.settings = settings
        self.budget = budget
        self.seed = seed
        self.state = state
        self.clock = clock
        self.folder = folder
        self.score_start = score_start
        self.on_progress = on_progress
        self.share = self._elapsed()
        self.rate = 0.0
        self.loss = math.nan
        self.validation_seconds = 0.0
        self.saved_at = time.monotonic()

    def train_dataloader(self) -> Batches:
        dataset: Any = self.network.dataset(self.splits.train, True)
        return Batches(
            dataset,
            StepSampler(len(dataset), batch_size=self.settings.batch_items, seed=self.seed),
            start=self.state.step,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
            before=self.clock.start,
        )

    def configure_optimizers(self) -> optim.Optimizer:
        return make_optimizer(
            self.model, learning_rate=self.settings.peak_rate, weight_decay=self.settings.weight_decay
        )

    def configure_gradient_clipping(
        self,
        optimizer: optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm ourselves: Lightning refuses to beside a fused optimiser, for a reason that fp16 has."""
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)

    def on_train_start(self) -> None:
        if self.score_start and self.state.step == 0:
            self.clock.start()
            self._keep_best(self._validate())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.state.step
        self.rate = self.settings.peak_rate * rate_factor(self.share, warmup=self.settings.warmup)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.rate
        torch.manual_seed(derive_seed(self.seed, step, "model", self.global_rank))
        generator = Generator(device=self.device)
        generator.manual_seed(derive_seed(self.seed, step, "objective", self.global_rank))
        total = self.network.objective(self.model, batch, generator=generator).total
        self.loss = total.item()
        if not math.isfinite(self.loss):
            raise OmniformError(
                f"expected a finite loss, got {self.loss} at step {step + 1} at learning rate {self.rate:.3g}; "
                "try a smaller learning rate, a longer warm-up or precision 32, and look for extreme values in the data"
            )
        return total

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        before, state = self.share, self.state
        state.step += 1
        after, finished = self._agree(self._elapsed(), float(self._is_spent()))
        validation = None
        if finished or crosses(before, after, every=self.settings.validate_every):
            validation = self._validate()
            self._keep_best(validation)
        self.clock.stop()
        state.seconds, state.cpu_seconds = self.clock.read()
        due = time.monotonic() - self.saved_at >= _CHECKPOINT_SECONDS
        self.share, due = self._agree(self._elapsed(), float(due))
        if finished:
            state.stopped = "budget"
        elif self.settings.patience and state.waited >= self.settings.patience:
            state.stopped = "patience"
        self._tell(before, after, validation)
        if state.stopped:
            self.trainer.should_stop = True
        if self.folder is not None and (due or state.stopped):
            self.trainer.save_checkpoint(self.folder)
            self.saved_at = time.monotonic()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[_STATE_KEY] = self.state.as_tree()

    def _elapsed(self) -> float:
        if self.budget.steps is not None:
            return self.state.step / self.budget.steps
        assert self.budget.seconds is not None
        return self.clock.read()[0] / self.budget.seconds

    def _is_spent(self) -> bool:
        """Tell whether no step is left; of a time budget, enough is kept for the last validation."""
        if self.budget.steps is not None:
            return self.state.step >= self.budget.steps
        assert self.budget.seconds is not None
        return self.clock.read()[0] + self.validation_seconds >= self.budget.seconds

    def _agree(self, *values: float) -> tuple[float, ...]:
        """Return the values of rank 0, so that clocks that differ do not part the ranks."""
        if self.trainer.world_size == 1:
            return values
        agreed = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(agreed, src=0)
        return tuple(agreed.tolist())

    def _validate(self) -> float:
        """Score the model on rank 0, in fp32 and eval mode, and leave every module in the mode it was in."""
        start = time.perf_counter()
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        with torch.no_grad():
            score = self.validate(self.model) if self.global_rank == 0 else 0.0
        for module, mode in modes.items():
            module.training = mode
        self.validation_seconds = time.perf_counter() - start
        return self._agree(score)[0]

    def _keep_best(self, score: float) -> None:
        state = self.state
        better = state.best is None or (score < state.best if self.lower_is_better else score > state.best)
        if math.isfinite(score) and better:
            state.best, state.waited = score, 0
            state.best_weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        else:
            state.waited += 1

    def _tell(self, before: float, after: float, validation: float | None) -> None:
        state = self.state
        if validation is not None or state.step == 1 or crosses(before, after, every=_RECORD_EVERY):
            state.history.append(Record(state.step, self.loss, self.rate, validation))
        if self.on_progress is not None:
            self.on_progress(
                Progress(
                    step=state.step,
                    share=1.0 if state.stopped else min(after, 1.0),
                    seconds=state.seconds,
                    loss=self.loss,
                    learning_rate=self.rate,
                    validation=validation,
                    best=state.best,
                )
            )


def run_loop(loop: TrainingLoop, *, device: torch.device, resume: bool) -> None:
    """Run Lightning's trainer over the loop, from its checkpoint folder if `resume`."""
    _quieten()
    settings = loop.settings
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.devices,
        strategy="ddp_spawn" if settings.devices > 1 else "auto",
        precision="bf16-mixed" if loop.state.precision == "bf16" else "32-true",
        max_epochs=-1,
        plugins=[FolderCheckpoints()],
        default_root_dir=loop.folder,
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(loop, ckpt_path=loop.folder if resume else None, weights_only=False)
