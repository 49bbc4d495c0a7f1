"""Linear layers of few bits, which `replace_linear` puts in the place of `nn.Linear`."""

from omniform.quantized.binary import BinaryLinear, BitLinear, bitnet, pack_bits
from omniform.quantized.calibration import record_inputs
from omniform.quantized.fp4 import ActivationFormat, FP4Linear, llm_fp4
from omniform.quantized.int8 import Int8Linear, llm_int8

__all__ = [
    "ActivationFormat",
    "BinaryLinear",
    "BitLinear",
    "FP4Linear",
    "Int8Linear",
    "bitnet",
    "llm_fp4",
    "llm_int8",
    "pack_bits",
    "record_inputs",
]
