//! moto, the second opinion: it knows users and their policies, and names its refusals as AWS does.

use std::{sync::OnceLock, time::Duration};

use super::{
    process::{Process, free_ports},
    program, start, until_ready,
};
use crate::{
    s3::{Client, between},
    wire::{Message, exchange},
};

/// A running moto.
#[derive(Debug)]
pub struct Moto {
    address: String,
    /// May do everything in S3.
    client: Client,
    _process: Process,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Moto {
    /// Starts one that checks signatures and policies. `None`, said loudly, if it cannot be installed; in continuous
    /// integration that is a failure.
    pub fn start() -> Option<Self> {
        let python = program("python")?;
        Some(start("moto", || {
            let [port] = free_ports();
            let arguments = ["-m", "moto.server", "-H", "127.0.0.1", "-p"].map(str::to_owned);
            let variables = [("PYTHONDONTWRITEBYTECODE", "1")];
            let prepare = |_: &std::path::Path| [&arguments[..], &[port.to_string()]].concat();
            let mut process = Process::start(&python, &variables, prepare)?;
            let address = format!("127.0.0.1:{port}");
            let nobody = client(&address, "nobody", "secret");
            until_ready(&mut process, &nobody, "/", &[200])?;
            let moto = Self { address, client: nobody, _process: process };
            let everything =
                r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
            let client = moto.user("everything", everything);
            let moto = Self { client, ..moto };
            moto.check_signatures(true);
            Ok(moto)
        }))
    }

    /// The one that all tests of a process share; it ends with the process.
    pub fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Moto>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// How to reach it, as a user who may do everything in S3.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Adds a user with this policy. Not while anybody else talks to the server, which lets everybody in meanwhile.
    #[track_caller]
    pub fn user(&self, name: &str, policy: &str) -> Client {
        self.check_signatures(false);
        let call = |action: &str, more: &[(&str, &str)]| {
            let mut pairs = vec![("Action", action), ("Version", "2010-05-08"), ("UserName", name)];
            pairs.extend(more);
            let request = self.client.signed("iam", "POST", "/", &pairs, &[], b"");
            let answer = exchange(&self.address, &request, PATIENCE).expect("moto answers");
            assert_eq!(answer.status(), 200, "{action}: {}", answer.text());
            answer.text()
        };
        call("CreateUser", &[]);
        call("PutUserPolicy", &[("PolicyName", "only"), ("PolicyDocument", policy)]);
        let made = call("CreateAccessKey", &[]);
        self.check_signatures(true);
        let value = |tag: &str| {
            let (before, after) = (format!("<{tag}>"), format!("</{tag}>"));
            between(&made, &before, &after).next().expect("a new key").to_owned()
        };
        client(&self.address, &value("AccessKeyId"), &value("SecretAccessKey"))
    }

    /// Checks signatures and policies from now on, or lets everybody do everything.
    #[track_caller]
    pub fn check_signatures(&self, check: bool) {
        // The number of actions that are let through unchecked.
        let body = if check { &b"0"[..] } else { b"inf" };
        let request = Message {
            first: "POST /moto-api/reset-auth HTTP/1.1".into(),
            headers: vec![
                ("Host".into(), self.address.clone()),
                ("Content-Type".into(), "text/plain".into()),
                ("Content-Length".into(), body.len().to_string()),
            ],
            body: body.to_vec(),
        };
        let answer = exchange(&self.address, &request, PATIENCE).expect("moto answers");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

fn client(address: &str, access_key: &str, secret_key: &str) -> Client {
    Client {
        address: address.to_owned(),
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
        region: "us-east-1".to_owned(),
    }
}
