"""Open checkpoints of the Hugging Face kind, read into our own layers."""

from omniform_codegen.checkpoints.folder import is_checkpoint
from omniform_codegen.checkpoints.load import load_checkpoint
from omniform_codegen.checkpoints.tokenizer import CheckpointTokenizer

__all__ = ["CheckpointTokenizer", "is_checkpoint", "load_checkpoint"]
