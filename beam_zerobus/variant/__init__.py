"""Parquet's binary Variant, which a VARIANT column has in an Arrow Flight stream: JSON text to Variant, and back.

The room knows nothing of tables: the encoder of Arrow streams and the emulator use it. The layout is that of
VariantEncoding.md of the Parquet format, version 1.
"""

from beam_zerobus.variant.decode import MalformedVariantError, decode_variants
from beam_zerobus.variant.encode import encode_json
from beam_zerobus.variant.layout import MAX_DEPTH, VARIANT_TYPE
from beam_zerobus.variant.problems import Problem

__all__ = ["MAX_DEPTH", "VARIANT_TYPE", "MalformedVariantError", "Problem", "decode_variants", "encode_json"]
