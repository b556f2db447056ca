"""The computation, twice: `reference` reads like the derivation, `fused` computes the same in compiled code."""
