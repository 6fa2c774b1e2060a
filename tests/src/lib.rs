//! End-to-end tests; the code is in the test targets.
#![forbid(unsafe_code)]
