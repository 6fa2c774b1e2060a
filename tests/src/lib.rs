//! What end-to-end tests share: the real binary, the reference implementation, and a folder to work in.
#![forbid(unsafe_code)]

mod build;
mod folder;
mod model_signing;
mod node;
pub mod proxy;
mod python;
pub mod s3;
pub mod servers;
pub mod wire;
mod workspace;

pub use build::{mvault, mvault_server};
pub use folder::{Entry, Tree, copy, make_private, noise, tree};
pub use model_signing::ModelSigning;
pub use python::{Python, Reference, have, skip};
pub use workspace::{Output, Refusal, Workspace};
