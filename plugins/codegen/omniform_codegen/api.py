"""Code completion in a few lines: a repository in, suggestions at a cursor out, the floors beside every score."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from omniform.errors import ConfigError, RunError
from omniform.estimator import NetworkPredictor
from omniform.learner import Learner
from omniform.run import Run
from omniform.task import Splits, Task
from omniform.training.config import Training
from omniform.training.precision import resolve_device
from omniform_codegen.checkpoints import is_checkpoint, load_checkpoint
from omniform_codegen.config import Channel, CompleteConfig
from omniform_codegen.filling import gap_prompt
from omniform_codegen.generation import Completion, Sampling, generate
from omniform_codegen.language import LanguageModel
from omniform_codegen.network import LanguagePredictor, complete_network, form_of
from omniform_codegen.task import Complete
from omniform_codegen.tokenizer import BytePair

__all__ = ["Coder", "language_of", "load_language"]

_DEFAULT = CompleteConfig()
_MOST_CONTEXT = 1024  # tokens of the windows by which a checkpoint is scored


def load_language(source: str | Path, *, adapter: Path | None = None) -> LanguageModel:
    """Read a language model: a run folder of the task `complete`, a Hugging Face folder, or `owner/name` on the hub.

    Args:
        adapter: a folder that `personalize` wrote, to be put on top.

    Raises:
        RunError: a run folder cannot be read, or is of another task.
        ConfigError: it is none of these, or a checkpoint of a kind that is not supported.
    """
    if adapter is not None:
        from omniform_codegen.personalization import load_personalized

        return load_personalized(load_language(source), adapter)
    path = Path(source)
    if is_checkpoint(path) or not path.exists():
        return load_checkpoint(source)
    run = Run.open(path)
    told = (run.spec.domain, run.spec.task)
    if told != ("codegen", Complete.name):
        raise RunError(f"expected a run of codegen {Complete.name} in {path}, got one of {' '.join(told)}")
    config = run.task_config(Complete())
    model: Any = run.load_model(complete_network(config, run.spec.mixer))
    return language_of(model.to(resolve_device("auto")), config, run.spec.mixer)


class Coder(Learner[CompleteConfig]):
    """Complete code with one language model.

    What is trained on is a folder of sources, a `.zip` or `.jsonl` of them, or `"sample"`, the standard library of this
    Python. Whole packages are held out: 80 % of the bytes to train, 5 % to choose the best moment, 15 % for `evaluate`.

    Args:
        mixer: the id of a causal token mixer with a state; `omniform zoo --kind token-mixer` lists them.
        suffixes, split, split_seed, group_depth, licences, tokenizer, vocabulary, context, infill, channel, dropout: as
            in `CompleteConfig`.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and dropout.
        training: optimiser settings, device and precision.

    Raises:
        ConfigError: an option is out of range.
    """

    domain: ClassVar[str] = "codegen"
    task: ClassVar[Task[Any, Any]] = Complete()

    def __init__(
        self,
        mixer: str = "attention",
        *,
        suffixes: str = _DEFAULT.suffixes,
        split: str = _DEFAULT.split,
        split_seed: int = _DEFAULT.split_seed,
        group_depth: int = _DEFAULT.group_depth,
        licences: str = _DEFAULT.licences,
        tokenizer: str = _DEFAULT.tokenizer,
        vocabulary: int = _DEFAULT.vocabulary,
        context: int = _DEFAULT.context,
        infill: float = _DEFAULT.infill,
        channel: Channel = _DEFAULT.channel,
        dropout: float = _DEFAULT.dropout,
        params: int = 500_000,
        depth: int = 4,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        config = CompleteConfig(
            suffixes=suffixes,
            split=split,
            split_seed=split_seed,
            group_depth=group_depth,
            licences=licences,
            tokenizer=tokenizer,
            vocabulary=vocabulary,
            context=context,
            infill=infill,
            channel=channel,
            dropout=dropout,
        )
        super().__init__(config, mixer, params=params, depth=depth, seed=seed, training=training)
        self._language: LanguageModel | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a run folder that `save` or `omniform codegen train` wrote, or a Hugging Face checkpoint.

        Args:
            path: a folder, or `owner/name` on the hub. Checkpoints of Llama, Qwen2, StarCoder2, GPT-NeoX and Mamba
                models in safetensors are read.

        Raises:
            RunError: it is none, or of another task.
            ConfigError: the checkpoint is of a kind that is not supported.
        """
        if Path(path).exists() and not is_checkpoint(Path(path)):
            return super().load(path)
        coder = cls()
        coder._language = load_checkpoint(path)
        return coder

    def fit(self, data: str | Path, *, budget: str = "2m", progress: bool = True) -> Self:
        """Train on sources; a budget is a time (`"90s"`, `"10m"`) or steps (`"300"`).

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        self._language = None
        self._fit(self.task.read(data, self.config), data, budget=budget, progress=progress)
        return self

    def evaluate(self, data: str | Path | None = None) -> dict[str, dict[str, float]]:
        """Return the test scores of the network and, behind it, of the floors, fitted to the same data.

        Args:
            data: other data, which is split as the training data was; for a checkpoint, by this object's options.

        Raises:
            ConfigError: nothing was fitted, or a loaded network was given no data.
            DataError: `data` is refused.
        """
        if self._fitted is None and self._language is not None:
            return self._checkpoint_scores(self._language, data)
        return self._scores(None if data is None else self.task.read(data, self._ready().config))

    def _checkpoint_scores(self, language: LanguageModel, data: str | Path | None) -> dict[str, dict[str, float]]:
        if data is None:
            raise ConfigError("a checkpoint comes without test data; expected evaluate(data)")
        read = self.task.read(data, self.config)
        config = self.task.resolve(read, self.config)
        splits = self.task.split(read, config)
        predictor = LanguagePredictor(language, min(language.context, _MOST_CONTEXT))
        return self._beside_floors(language.name, predictor, splits, config)

    @property
    def language(self) -> LanguageModel:
        """The model with its tokenizer, for generation, personalisation and evaluation.

        Raises:
            ConfigError: nothing was fitted.
        """
        if self._language is None:
            config = self._ready().config
            nothing: Any = Splits(None, None, None)
            predictor = self._predictor(nothing)
            if not isinstance(predictor, NetworkPredictor):
                raise ConfigError("an exported file cannot write from left to right; load the run folder instead")
            self._language = language_of(predictor.model.eval(), config, self.mixer)
        return self._language

    def complete(self, prefix: str, suffix: str = "", *, max_tokens: int = 64, stop: tuple[str, ...] = ()) -> str:
        """Return what the model writes between `prefix` and `suffix`, taking the likeliest token each time.

        Raises:
            ConfigError: nothing was fitted; or there is a suffix, and the model was not trained to infill.
        """
        sampling = Sampling(max_tokens=max_tokens, stop=tuple(text.encode() for text in stop))
        return self.suggest(prefix, suffix, sampling=sampling)[0].text.decode(errors="replace")

    def suggest(
        self, prefix: str, suffix: str = "", *, count: int = 1, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Return `count` completions with the probability of every token.

        Raises:
            ConfigError: as `complete`.
        """
        language = self.language
        sampling = sampling or Sampling(temperature=0.0 if count == 1 else 0.8)
        prompt = gap_prompt(language, prefix.encode(), suffix.encode(), room=sampling.max_tokens)
        return generate(language, [prompt] * count, sampling)


def language_of(model: Any, config: CompleteConfig, mixer: str) -> LanguageModel:
    """Return a network of the task with the tokenizer that its config holds."""
    return LanguageModel(model, BytePair.from_text(config.tokenizer), mixer, config.context, form_of(config))
