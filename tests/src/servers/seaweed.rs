//! `SeaweedFS`, the server that vaults in buckets are tested with first.

use std::sync::OnceLock;

use super::{
    process::{Process, flag, free_ports},
    program, start, until_ready,
};
use crate::s3::Client;

/// A running `SeaweedFS`.
#[derive(Debug)]
pub struct Seaweed {
    client: Client,
    _process: Process,
}

/// Its one user.
const ACCESS_KEY: &str = "ak";
const SECRET_KEY: &str = "sk";

impl Seaweed {
    /// Starts one. `None`, said loudly, if it cannot be installed; in continuous integration that is a failure.
    pub fn start() -> Option<Self> {
        let weed = program("weed")?;
        Some(start("SeaweedFS", || {
            let ports = free_ports::<10>();
            let variables = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
            let mut process = Process::start(&weed, &variables, |folder| {
                let mut args = vec!["mini".to_owned(), flag("dir", folder)];
                // Never a word to its makers.
                let fixed = ["master.telemetry=false", "admin.ui=false", "webdav=false", "s3.autoCreateBucket=false"];
                args.extend(fixed.map(|text| format!("-{text}")));
                args.extend(["ip", "ip.bind"].map(|name| flag(name, "127.0.0.1")));
                args.extend(["s3.port.iceberg", "s3.port.lance"].map(|name| flag(name, "0")));
                // Enough for every bucket of the tests to have a few volumes of its own.
                args.push(flag("volume.max", "200"));
                args.push(flag("s3.localSocket", folder.join("s3.sock")));
                args.push(flag("filer.localSocket", folder.join("filer.sock")));
                let named = [
                    "s3.port",
                    "s3.port.grpc",
                    "master.port",
                    "master.port.grpc",
                    "volume.port",
                    "volume.port.grpc",
                    "filer.port",
                    "filer.port.grpc",
                    "admin.port",
                    "admin.port.grpc",
                ];
                args.extend(named.iter().zip(ports).map(|(name, port)| flag(name, port.to_string())));
                args
            })?;
            let client = Client {
                address: format!("127.0.0.1:{}", ports[0]),
                access_key: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned(),
                region: "us-east-1".to_owned(),
            };
            until_ready(&mut process, &client, "/", &[200])?;
            Ok(Self { client, _process: process })
        }))
    }

    /// The one that all tests of a process share; it ends with the process.
    pub fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Seaweed>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// How to reach it, as its administrator.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
