//! Benchmarks; the code is in the bench targets, the comparison with other tools in `peers`.
#![forbid(unsafe_code)]
