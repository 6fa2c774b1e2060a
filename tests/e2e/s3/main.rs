//! Vaults in buckets: real servers of the S3 protocol, and a proxy that fails on purpose.
#![forbid(unsafe_code)]

mod servers;
