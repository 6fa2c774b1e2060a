//! The registry beside a vault: identity, rights and a record of every action, in front of the same objects.
//!
//! The modules are in the order of a request's journey: [`listen`] takes a connection, [`tls`] secures it and [`clients`]
//! verifies certificates, [`limits`] bounds it, [`evidence`] and [`identity`] say who asks, [`rights`] whether they may, which
//! [`policy`] decides, [`routes`] do it with one call of the core, [`chronicle`] adds it to the vault's log, [`audit`] writes a
//! line about it, and [`problem`] says what went wrong.
//! [`metrics`] counts, and [`traces`] follow, what happens.
#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod chronicle;
pub mod clients;
pub mod config;
pub mod dev;
pub mod direct;
pub mod evidence;
pub mod identity;
pub mod init;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod owners;
pub mod people;
pub mod policy;
pub mod problem;
pub mod publisher;
pub mod repeats;
pub mod rights;
pub mod routes;
pub mod state;
pub mod tls;
pub mod traces;
