//! `rclone serve s3`, which ignores `If-None-Match`: every one of several creators of an object wins.

use std::fs;

use super::{
    process::{Process, free_ports},
    program, start, until_ready,
};
use crate::s3::Client;

/// A running `rclone serve s3`.
#[derive(Debug)]
pub struct Rclone {
    client: Client,
    _process: Process,
}

/// Its one user; shorter names it does not know again.
const ACCESS_KEY: &str = "accesskey";
const SECRET_KEY: &str = "secretkey";
const KEYS: &str = "accesskey,secretkey";

impl Rclone {
    /// Starts one. `None`, said loudly, if it cannot be installed; in continuous integration that is a failure.
    pub fn start() -> Option<Self> {
        let rclone = program("rclone")?;
        Some(start("rclone", || {
            let [port] = free_ports();
            let address = format!("127.0.0.1:{port}");
            let mut process = Process::start(&rclone, &[], |folder| {
                let data = folder.join("data");
                fs::create_dir(&data).expect("a folder in a folder of ours");
                let fixed = ["serve", "s3", "--config", "/dev/null", "--auth-key", KEYS, "--addr", &address];
                fixed.map(str::to_owned).into_iter().chain([data.display().to_string()]).collect()
            })?;
            let client = Client {
                address: address.clone(),
                access_key: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned(),
                region: "us-east-1".to_owned(),
            };
            until_ready(&mut process, &client, "/", &[200])?;
            Ok(Self { client, _process: process })
        }))
    }

    /// How to reach it.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
