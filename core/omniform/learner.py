"""What the Python class of every task does alike: train, score beside the floors, save, load.

A field's class (`Forecaster`, `Classifier`) derives from `Learner`, spells out its options, and adds what its field
expects of data and predictions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from omniform.errors import ConfigError, RunError
from omniform.estimator import NetworkEstimator, NetworkPredictor
from omniform.preparation import prepare
from omniform.run import Run, RunSpec, Source
from omniform.serial import to_json
from omniform.solver import count_parameters
from omniform.task import Budget, Predictor, Size, Splits, Task
from omniform.training.config import Training
from omniform.training.precision import resolve_device

if TYPE_CHECKING:
    from omniform.export import OnnxModel

__all__ = ["Fitted", "Learner", "Loaded"]

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted(Generic[ConfigT]):
    """What training leaves behind: all that a run folder needs."""

    config: ConfigT
    size: Size
    training: Training
    budget: Budget
    source: str
    fingerprint: str
    predictor: NetworkPredictor
    splits: Splits[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[ConfigT]):
    """What loading leaves behind; the predictor is built when the first items tell its shape."""

    config: ConfigT
    source: Run | OnnxModel
    predictor: Predictor | None = None


class Learner(Generic[ConfigT]):
    """One network of a task. Subclasses name `domain` and `task`.

    Args:
        config: options of the task.
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and dropout.
        training: optimiser settings, device and precision.
    """

    domain: ClassVar[str]
    task: ClassVar[Task[Any, Any]]

    def __init__(
        self, config: ConfigT, mixer: str, *, params: int, depth: int, seed: int, training: Training | None
    ) -> None:
        self.config = config
        self.mixer = mixer
        self.params = params
        self.depth = depth
        self.seed = seed
        self.training = training or Training()
        self._fitted: Fitted[ConfigT] | Loaded[ConfigT] | None = None

    def save(self, path: str | Path) -> None:
        """Write a run folder, which the command line reads too.

        Raises:
            ConfigError: nothing was fitted, or it was loaded and so is in a run folder already.
            RunError: something is at `path` already.
        """
        fitted = self._ready()
        if isinstance(fitted, Loaded):
            raise ConfigError("what was loaded is in a file or folder already; copy that")
        model = fitted.predictor.model
        spec = RunSpec(
            domain=self.domain,
            task=self.task.name,
            mixer=self.mixer,
            params=count_parameters(model),
            seed=self.seed,
            init=None,
            size=fitted.size,
            budget=fitted.budget,
            training=fitted.training,
            config=to_json(fitted.config),
        )
        Run.create(Path(path), spec, Source(source=fitted.source, fingerprint=fitted.fingerprint)).save_model(model)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a run folder that `save` or the command line's `train` wrote, or a file that `export` did.

        Weights of a run folder are read at first use; an ONNX file is checked now.

        Raises:
            RunError: it is none, it is of another task, or it does not compute what it should.
        """
        make: Any = cls  # the subclasses' own signatures have these, and defaults for the rest
        if Path(path).suffix == ".onnx":
            from omniform.export import load_onnx

            source = load_onnx(path)
            told = source.description
            learner: Self = make(told.mixer)
        else:
            source = Run.open(Path(path))
            told = source.spec
            learner = make(
                told.mixer, params=told.params, depth=told.size.depth, seed=told.seed, training=told.training
            )
        if (told.domain, told.task) != (cls.domain, cls.task.name):
            raise RunError(f"expected a run of {cls.domain} {cls.task.name} in {path}, got {told.domain} {told.task}")
        learner.config = source.task_config(cls.task)
        learner._fitted = Loaded(config=learner.config, source=source)
        return learner

    def _fit(self, data: Any, source: Any, *, budget: str, progress: bool) -> ConfigT:
        """Train on data that `task.read` returned, and return the options with what was inferred.

        Args:
            source: what was read; a run folder names it where it is a path, and says that it was in memory otherwise.

        Raises:
            ConfigError: unknown mixer, or no such budget.
            DataError: the data is too short.
            SizeError: the parameters cannot be met.
        """
        prepared = prepare(
            self.task,
            data,
            self.config,
            mixer=self.mixer,
            params=self.params,
            depth=self.depth,
            training=self.training,
        )
        estimator = NetworkEstimator(
            task=self.task,
            config=prepared.config,
            network=prepared.network,
            size=prepared.size,
            training=prepared.training,
            budget=Budget.parse(budget),
            progress=progress,
        )
        self._fitted = Fitted(
            config=prepared.config,
            size=prepared.size,
            training=prepared.training,
            budget=estimator.budget,
            source=str(source) if isinstance(source, str | Path) else "data in memory",
            fingerprint=self.task.fingerprint(data),
            predictor=estimator.fit(prepared.splits, seed=self.seed),
            splits=prepared.splits,
        )
        return prepared.config

    def _scores(self, data: Any | None) -> dict[str, dict[str, float]]:
        """Return the test scores of the network and then of the floors, fitted to the same data, by name.

        Args:
            data: what `task.read` returned, split as the training data was; `None` for the training data's own test.

        Raises:
            ConfigError: nothing was fitted, or there is no test data.
        """
        fitted = self._ready()
        config = fitted.config
        if data is not None:
            splits = self.task.split(data, config)
        elif isinstance(fitted, Loaded):
            raise ConfigError("a run folder holds no test data; expected evaluate(data)")
        else:
            splits = fitted.splits
        return self._beside_floors(self.mixer, self._predictor(splits), splits, config)

    def _beside_floors(
        self, name: str, predictor: Predictor, splits: Splits[Any], config: ConfigT
    ) -> dict[str, dict[str, float]]:
        """Return the test scores of a predictor and then of the floors, by name."""
        predictors = {name: predictor}
        for floor in self.task.floors(config):
            predictors[floor.name] = floor.estimator.fit(splits, seed=self.seed)
        return {
            name: self.task.score(predictor.predict(splits.test), splits.test, config).values()
            for name, predictor in predictors.items()
        }

    def _predict(self, items: Any) -> Any:
        """Return the task's predictions for items.

        Raises:
            ConfigError: nothing was fitted.
            RunError: the weights of a loaded network cannot be read.
        """
        return self._predictor(Splits(items, items, items)).predict(items)

    def _predictor(self, splits: Splits[Any]) -> Predictor:
        """Return the fitted predictor; one that was loaded is built for items like these, which tell its shape."""
        fitted = self._ready()
        if fitted.predictor is not None:
            return fitted.predictor
        assert isinstance(fitted, Loaded)
        source = fitted.source
        if isinstance(source, Run):
            network = source.network(self.task, splits, fitted.config)
            model = source.load_model(network).to(resolve_device(self.training.device))
            predictor: Predictor = NetworkPredictor(model, network, self.training.batch_items)
        else:
            from omniform.export import OnnxPredictor

            predictor = OnnxPredictor(source, self.task.network(splits, fitted.config, self.mixer))
        self._fitted = replace(fitted, predictor=predictor)
        return predictor

    def _ready(self) -> Fitted[ConfigT] | Loaded[ConfigT]:
        if self._fitted is None:
            raise ConfigError(f"nothing was fitted yet; call fit first, or {type(self).__name__}.load(path)")
        return self._fitted
