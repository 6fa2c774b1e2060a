//! What every backend must do, asked of real servers.

use vault_core::store::{Bucket, Connection, conformance::CHECKS};
use vault_tests::{
    s3::Client,
    servers::{Moto, Seaweed},
};

use crate::{Desk, within};

fn conforms(client: &Client) {
    for (name, check) in CHECKS {
        let desk = Desk::on(vault_tests::Workspace::empty(), client);
        client.make_bucket(&desk.bucket);
        let connection = Connection { settings: desk.variables.clone(), ..Connection::default() };
        let url = format!("s3://{}/below/{name}", desk.bucket);
        check(&Bucket::connect(&url, &connection).expect("connected"));
    }
}

#[test]
fn seaweed_does_what_every_backend_must() {
    within(120, || {
        let Some(server) = Seaweed::shared() else { return };
        conforms(server.client());
    });
}

#[test]
fn moto_does_what_every_backend_must() {
    within(120, || {
        let Some(server) = Moto::shared() else { return };
        conforms(server.client());
    });
}
