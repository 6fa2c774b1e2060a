//! The registry beside a vault: identity, rights and a record of every action, in front of the same objects.
//!
//! The modules are in the order of a request's journey: [`listen`] takes a connection and [`tls`] secures it, [`limits`]
//! bounds it, [`identity`] says who asks, [`rights`] whether they may, [`routes`] do it with one call of the core,
//! [`audit`] writes it down, and [`problem`] says what went wrong.
#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod config;
pub mod dev;
pub mod identity;
pub mod init;
pub mod limits;
pub mod listen;
pub mod problem;
pub mod rights;
pub mod routes;
pub mod state;
pub mod tls;
